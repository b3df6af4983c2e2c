/** Every key and pub/sub channel that the hub uses in Redis, built here only. */
export class RedisKeys {
  readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }
  /** Zset: worker's number, end of its lease in ms of the server's clock. */
  get origins() {
    return `${this.prefix}origins`
  }
  /** Counter of workers. */
  get origin() {
    return `${this.prefix}origin`
  }
  /** Random; missing means that Redis was emptied. */
  get epoch() {
    return `${this.prefix}epoch`
  }
  /** Counter of appends of all workers: the stamp. */
  get n() {
    return `${this.prefix}n`
  }
  /** Counter of changes to records. */
  get revision() {
    return `${this.prefix}revision`
  }
  /** Hash: record key, JSON of all but the value. */
  get records() {
    return `${this.prefix}records`
  }
  /** Hash: record key, value. */
  get values() {
    return `${this.prefix}values`
  }
  /** Zset: record key, end of its grace. */
  get suspects() {
    return `${this.prefix}suspects`
  }
  /** When the last sweep was, ms of the server's clock. */
  get swept() {
    return `${this.prefix}swept`
  }
  /** Stream: a worker's log, one entry per tick, id = its last number. */
  log(origin: number) {
    return `${this.prefix}log:${origin}`
  }
  /** Hash: channel, the worker's last number on it. */
  heads(origin: number) {
    return `${this.prefix}heads:${origin}`
  }
  /** Set of the worker's sessions. */
  sessions(origin: number) {
    return `${this.prefix}sessions:${origin}`
  }
  /** Hash: origin, subject. */
  session(id: string) {
    return `${this.prefix}sess:${id}`
  }
  /** Set of the session's channels. */
  channels(id: string) {
    return `${this.prefix}chans:${id}`
  }
  /** Hash: session, subject. */
  members(channel: string) {
    return `${this.prefix}members:${channel}`
  }
  /** Pub/sub: batches of a bus channel. */
  batches(channel: string) {
    return `${this.prefix}b:${channel}`
  }
  /** Pub/sub: changes to records. */
  get change() {
    return `${this.prefix}change`
  }
  /** Pub/sub: sessions that ended. */
  get gone() {
    return `${this.prefix}gone`
  }
  /** Pub/sub: numbers of workers that ended. */
  get ended() {
    return `${this.prefix}ended`
  }
}
