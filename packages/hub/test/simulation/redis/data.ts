/** What a command answers, as Redis means it; each protocol writes it in its own way. */
export type Reply =
  | null
  | number
  | string
  /** Not bulk: a word of the server. */
  | { word: string }
  | { error: string }
  | { double: number }
  | { pairs: [string, string][] }
  /** The same, but each pair is a list of its own. */
  | { couples: [string, string][] }
  | Reply[]

export const ok: Reply = { word: 'OK' }

interface Entry {
  id: number
  fields: string[]
}

interface Stream {
  last: number
  entries: Entry[]
}

type Value = string | Map<string, string> | Set<string> | { scores: Map<string, number> } | Stream

type Command = (data: RedisData, args: string[]) => Reply

/**
 * What a Redis holds, and those of its commands that the hub uses, in memory. Texts are bytes, one per character. A test holds
 * all of them to a real Redis.
 */
export class RedisData {
  readonly #values = new Map<string, Value>()
  readonly #ends = new Map<string, number>()
  readonly #now: () => number

  /** `now` is the server's clock, unix ms. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** One command as a client or a script gives it. */
  run(name: string, args: string[]): Reply {
    const command = commands[name]
    return command ? command(this, args) : { error: `ERR unknown command '${name}'` }
  }

  /** What is here now, for a server that is somewhat behind. */
  copy(): RedisData {
    const copy = new RedisData(this.#now)
    for (const [key, value] of this.#values) copy.#values.set(key, structuredClone(value))
    for (const [key, end] of this.#ends) copy.#ends.set(key, end)
    return copy
  }

  get now(): number {
    return this.#now()
  }

  get(key: string): Value | undefined {
    if ((this.#ends.get(key) ?? Number.POSITIVE_INFINITY) <= this.#now()) this.delete(key)
    return this.#values.get(key)
  }

  text(key: string): string | undefined {
    return this.get(key) as string | undefined
  }

  hash(key: string): Map<string, string> | undefined {
    return this.get(key) as Map<string, string> | undefined
  }

  set(key: string): Set<string> | undefined {
    return this.get(key) as Set<string> | undefined
  }

  scores(key: string): Map<string, number> | undefined {
    return (this.get(key) as { scores: Map<string, number> } | undefined)?.scores
  }

  stream(key: string): Stream | undefined {
    return this.get(key) as Stream | undefined
  }

  put<Of extends Value>(key: string, value: Of): Of {
    this.#values.set(key, value)
    return value
  }

  delete(key: string): boolean {
    this.#ends.delete(key)
    return this.#values.delete(key)
  }

  expire(key: string, ms: number): boolean {
    if (this.get(key) === undefined) return false
    this.#ends.set(key, this.#now() + ms)
    return true
  }
}

/** By score, and by bytes where that is the same. */
function ranked(scores: Map<string, number> | undefined): [string, number][] {
  return [...(scores ?? [])].sort(([a, x], [b, y]) => (x === y ? (a < b ? -1 : 1) : x < y ? -1 : 1))
}

function numberOf(text: string): number {
  if (/^\+?inf$/i.test(text)) return Number.POSITIVE_INFINITY
  return /^-inf$/i.test(text) ? Number.NEGATIVE_INFINITY : Number(text)
}

/** A number as a reply has it. */
export function textOf(score: number): string {
  if (Number.isFinite(score)) return String(score)
  return score > 0 ? 'inf' : '-inf'
}

function within(low: string, high: string): (score: number) => boolean {
  const [isOpen, least] = [low.startsWith('('), numberOf(low.replace('(', ''))]
  const [isClosed, most] = [!high.startsWith('('), numberOf(high.replace('(', ''))]
  return (score) => (isOpen ? score > least : score >= least) && (isClosed ? score <= most : score < most)
}

function addTo(data: RedisData, key: string, by: string): Reply {
  const sum = Number(data.text(key) ?? 0) + Number(by)
  data.put(key, String(sum))
  return sum
}

/** Whatever holds nothing any more is not there. */
function removeFrom(
  data: RedisData,
  key: string,
  held: Map<string, unknown> | Set<string> | undefined,
  items: string[],
) {
  const count = items.filter((item) => held?.delete(item)).length
  if (held?.size === 0) data.delete(key)
  return count
}

function setFields(data: RedisData, key: string, flat: string[]): number {
  const hash = data.hash(key) ?? data.put(key, new Map<string, string>())
  const before = hash.size
  for (const [field, value] of pairsOf(flat)) hash.set(field, value)
  return hash.size - before
}

function itemsBetween(data: RedisData, key: string, low: string, high: string): string[] {
  const isIn = within(low, high)
  return ranked(data.scores(key)).flatMap(([item, score]) => (isIn(score) ? [item] : []))
}

/** The number of an entry; of those that the hub writes it is the whole id. */
function idOf(text: string, open: number): number {
  if (text === '+' || text === '-') return open
  const [ms, seq = '0'] = text.split('-')
  return Number(ms) + (seq === '0' ? 0 : 0.5)
}

function pairsOf(flat: string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[i * 2] as string, flat[i * 2 + 1] as string])
}

function entriesOf(entries: Entry[]): Reply[] {
  return entries.map(({ id, fields }): Reply => [`${id}-0`, fields])
}

function shuffled<T>(items: T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item)
}

const commands: Record<string, Command> = {
  PING: () => ({ word: 'PONG' }),
  INFO: () => 'redis_version:7.0.15\r\nloading:0\r\nrole:master\r\n',
  CLIENT: () => ok,
  TIME: ({ now }) => [String(Math.floor(now / 1_000)), String(Math.floor((now % 1_000) * 1_000))],
  DEL: (data, keys) => keys.filter((key) => data.get(key) !== undefined && data.delete(key)).length,
  PEXPIRE: (data, [key = '', ms]) => Number(data.expire(key, Number(ms))),

  GET: (data, [key = '']) => data.text(key) ?? null,
  SET(data, [key = '', value = '', condition]) {
    if (condition === 'NX' && data.text(key) !== undefined) return null
    data.put(key, value)
    return ok
  },
  INCR: (data, [key = '']) => addTo(data, key, '1'),
  INCRBY: (data, [key = '', by = '']) => addTo(data, key, by),

  HGET: (data, [key = '', field = '']) => data.hash(key)?.get(field) ?? null,
  HMGET: (data, [key = '', ...fields]) => fields.map((field) => data.hash(key)?.get(field) ?? null),
  HGETALL: (data, [key = '']) => ({ pairs: [...(data.hash(key) ?? [])] }),
  HVALS: (data, [key = '']) => [...(data.hash(key)?.values() ?? [])],
  HSET: (data, [key = '', ...flat]) => setFields(data, key, flat),
  HSETNX(data, [key = '', field = '', value = '']) {
    if (data.hash(key)?.has(field)) return 0
    return setFields(data, key, [field, value])
  },
  HINCRBY(data, [key = '', field = '', by]) {
    const sum = Number(data.hash(key)?.get(field) ?? 0) + Number(by)
    setFields(data, key, [field, String(sum)])
    return sum
  },
  HDEL: (data, [key = '', ...fields]) => removeFrom(data, key, data.hash(key), fields),
  HRANDFIELD(data, [key = '', count]) {
    return { couples: shuffled([...(data.hash(key) ?? [])]).slice(0, Number(count)) }
  },

  SADD(data, [key = '', ...items]) {
    const set = data.set(key) ?? data.put(key, new Set<string>())
    const before = set.size
    for (const item of items) set.add(item)
    return set.size - before
  },
  SREM: (data, [key = '', ...items]) => removeFrom(data, key, data.set(key), items),
  SMEMBERS: (data, [key = '']) => [...(data.set(key) ?? [])],

  ZADD(data, [key = '', ...rest]) {
    const isOnlyOld = rest[0] === 'XX'
    const [score = '', item = ''] = isOnlyOld ? rest.slice(1) : rest
    const isNew = !data.scores(key)?.has(item)
    if (isOnlyOld && isNew) return 0
    const { scores } = (data.get(key) as { scores: Map<string, number> }) ?? data.put(key, { scores: new Map() })
    scores.set(item, numberOf(score))
    return Number(isNew)
  },
  ZREM: (data, [key = '', ...items]) => removeFrom(data, key, data.scores(key), items),
  ZSCORE(data, [key = '', item = '']) {
    const score = data.scores(key)?.get(item)
    return score === undefined ? null : { double: score }
  },
  ZRANGE(data, [key = '', , , withScores]) {
    const all = ranked(data.scores(key))
    return withScores ? all.flatMap(([item, score]) => [item, textOf(score)]) : all.map(([item]) => item)
  },
  ZRANGEBYSCORE: (data, [key = '', low = '', high = '']) => itemsBetween(data, key, low, high),
  ZREMRANGEBYSCORE: (data, [key = '', low = '', high = '']) =>
    removeFrom(data, key, data.scores(key), itemsBetween(data, key, low, high)),
  ZCOUNT: (data, [key = '', low = '', high = '']) => itemsBetween(data, key, low, high).length,

  XADD(data, [key = '', id = '', ...fields]) {
    const number = idOf(id, 0)
    const stream = data.stream(key)
    if (number <= (stream?.last ?? 0))
      return { error: 'ERR The ID specified in XADD is equal or smaller than the target stream top item' }
    const target = stream ?? data.put<Stream>(key, { last: 0, entries: [] })
    target.entries.push({ id: number, fields })
    target.last = number
    return id
  },
  XTRIM(data, [key = '', , , least = '']) {
    const stream = data.stream(key)
    if (!stream) return 0
    const before = stream.entries.length
    stream.entries = stream.entries.filter(({ id }) => id >= idOf(least, 0))
    return before - stream.entries.length
  },
  XRANGE(data, [key = '', low = '', high = '', , count]) {
    const [least, most] = [idOf(low, 0), idOf(high, Number.POSITIVE_INFINITY)]
    const entries = data.stream(key)?.entries.filter(({ id }) => id >= least && id <= most) ?? []
    return entriesOf(entries.slice(0, Number(count)))
  },
  XREVRANGE: (data, [key = '', , , , count]) =>
    entriesOf((data.stream(key)?.entries ?? []).slice(-Number(count)).reverse()),
}
