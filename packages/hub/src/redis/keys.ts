/** Every key and pub/sub channel that the hub uses in Redis, built here only. */
export class RedisKeys {
  readonly prefix: string

  /** A prefix without a hash tag becomes one: all keys are in one slot of a cluster, where scripts can reach them. */
  constructor(prefix: string) {
    this.prefix = /\{.+\}/.test(prefix) ? prefix : `{${prefix}}`
  }
  /** Zset: worker's number, end of its lease in ms of the server's clock. */
  get origins() {
    return `${this.prefix}origins`
  }
  /** Zset: numbers of all workers that have a log, and when that may go; never while they live. */
  get logs() {
    return `${this.prefix}logs`
  }
  /** Zset: session without a line, when its next stage comes. */
  get away() {
    return `${this.prefix}away`
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
  /** Counter of questions for heads. */
  get echoes() {
    return `${this.prefix}echoes`
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
  /** Zset: thumbprint of a root key, the highest `seq` of its trust lists. */
  get trust() {
    return `${this.prefix}trust`
  }
  /** Zset: record key, end of its grace. */
  get suspects() {
    return `${this.prefix}suspects`
  }
  /** When the last sweep was, ms of the server's clock. */
  get swept() {
    return `${this.prefix}swept`
  }
  /** Stream: a worker's log, one entry per append, id = its highest number. */
  log(origin: number) {
    return `${this.prefix}log:${origin}`
  }
  /**
   * Hash: channel, the worker's last number on it; `floor`, the highest number of a channel that was forgotten; `trimmed`,
   * the number up to which the log was cut.
   */
  heads(origin: number) {
    return `${this.prefix}heads:${origin}`
  }
  /** Set of the worker's sessions. */
  sessions(origin: number) {
    return `${this.prefix}sessions:${origin}`
  }
  /** Hash: origin, subject, ticket, stage, done, gen (how often it was taken over). */
  session(id: string) {
    return `${this.prefix}sess:${id}`
  }
  /** Hash: number of a request that this session made and that is not settled, JSON of what is known of it. */
  asked(id: string) {
    return `${this.prefix}asked:${id}`
  }
  /** Zset: request that this session was picked for (session/number), its deadline. */
  picked(id: string) {
    return `${this.prefix}picked:${id}`
  }
  /** Hash: subject, how many kept records it has. */
  get kept() {
    return `${this.prefix}kept`
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
  /** Pub/sub: sessions that are over. */
  get over() {
    return `${this.prefix}over`
  }
  /** Pub/sub: where workers stand on the channels that they used of late. */
  get tails() {
    return `${this.prefix}tails`
  }
  /** Pub/sub: words to one worker. */
  worker(origin: number) {
    return `${this.prefix}worker:${origin}`
  }
  /** Pub/sub: numbers of workers that ended. */
  get ended() {
    return `${this.prefix}ended`
  }
}
