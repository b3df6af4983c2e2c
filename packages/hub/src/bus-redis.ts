import { randomBytes, randomInt } from 'node:crypto'
import { isErrorCode } from '@damon/protocol/errors'
import type { Position } from '@damon/protocol/frames'
import { decodeBatch } from './batch.ts'
import { type Arrive, type Bus, BusError } from './bus.ts'
import { Appender, membersOf } from './redis/appender.ts'
import { isCluster, type Place, ScriptedRedis } from './redis/client.ts'
import { Echoes } from './redis/echoes.ts'
import { RedisKeys } from './redis/keys.ts'
import { LogReader } from './redis/log-reader.ts'
import { RedisSubscriber } from './redis/subscriber.ts'
import { parseTails, Tails } from './redis/tails.ts'
import { open, seal } from './seal.ts'
import {
  type Joined,
  lateSweepMs,
  logMs,
  type OpenRequest,
  pickedAmong,
  type RecordChange,
  type Store,
  type StoredRecord,
  type StoreEvents,
  type StoreTimes,
  type Written,
  workerLeaseMs,
} from './store.ts'

/** Channels that one command asks for. */
const channelsPerCommand = 256

/**
 * Where the numbers of workers begin in an empty Redis, at random below this: a Redis that was emptied must not give the
 * numbers of workers that still live.
 */
const firstOrigins = 2 ** 31

/**
 * Numbers are at most so far apart, at random: a Redis that took the place of another may not know the last that were given,
 * and shall not give them again.
 */
const originSteps = 1_024

/** Records that one command writes back. */
const recordsPerCommand = 100

/** Bus and store of a hub of many machines, in one Redis. */
export interface RedisBackbone extends AsyncDisposable {
  readonly bus: Bus
  readonly store: Store
}

export interface RedisOptions extends Place {
  times: StoreTimes
}

interface Meta {
  revision: number
  generation: number
  leased: boolean
  state: 'live' | 'suspect'
}

function wrap(error: unknown): BusError {
  const text = error instanceof Error ? error.message : ''
  return new BusError(text.startsWith('FENCED') ? 'fenced' : 'unavailable', error)
}

function openRequest(text: string, now: number): OpenRequest {
  const asked = JSON.parse(text) as {
    number: number
    rest: string
    ends: string
    members: string[]
    heads: string[] | object
  }
  const { channel, quorum } = JSON.parse(asked.rest) as { channel: string; quorum: number }
  // Lua writes a list of nothing as an object.
  const heads = positions(Array.isArray(asked.heads) ? asked.heads : [])
  const { number, members, ends } = asked
  return { number, channel, quorum, receivers: membersOf(members), heads, leftMs: Number(ends) - now }
}

function parseChange(message: Buffer): RecordChange {
  const cut = message.indexOf(0x0a)
  const change = JSON.parse(message.toString('utf8', 0, cut)) as Meta & {
    change: RecordChange['change']
    key: string
    reason: string
  }
  if (change.change === 'drop')
    return { change: 'drop', key: change.key, revision: change.revision, reason: change.reason }
  const { key, revision, generation, leased } = change
  const state = change.change === 'suspect' ? 'suspect' : 'live'
  return {
    change: change.change,
    record: { key, revision, generation, leased, state, value: open(message.subarray(cut + 1)).toString('latin1') },
  }
}

/**
 * Ends every session of a worker whose process is gone, from outside of it.
 * @throws when Redis cannot be reached; the worker's lease then does the same a few seconds later
 */
export async function endRedisWorker(redis: ScriptedRedis, options: RedisOptions, origin: number): Promise<void> {
  await redis.run('end', endKeys(new RedisKeys(options.prefix)), endArguments('origin', origin, options))
}

type Ending = 'left' | 'lost' | 'release' | 'origin' | 'sweep'

function endArguments(what: Ending, whose: string | number, { times }: RedisOptions) {
  return [what, whose, lateSweepMs, workerLeaseMs, times.graceMs, times.awayMs, times.resumeMs, logMs(times)]
}

function endKeys(keys: RedisKeys): string[] {
  return [keys.origins, keys.logs, keys.away, keys.suspects, keys.swept, keys.prefix]
}

function positions(flat: string[]): Position[] {
  const heads: Position[] = []
  for (let i = 0; i + 2 < flat.length; i += 3)
    heads.push({ origin: Number(flat[i]), to: flat[i + 1] as string, seq: Number(flat[i + 2]) })
  return heads
}

function joined([stamp, flat]: [number, string[]]): Joined {
  return { stamp, heads: positions(flat) }
}

/**
 * Connects this worker to Redis: one connection for commands, one for what arrives.
 * Rejects when Redis cannot be reached; nothing stays open then.
 */
export async function openRedis(options: RedisOptions, arrive: Arrive, events: StoreEvents): Promise<RedisBackbone> {
  const keys = new RedisKeys(options.prefix)
  const batchPrefix = keys.batches('')
  const echoes = new Echoes()
  let tails: Tails | undefined
  let own = ''
  const hear = (word: string) => {
    const [what, session = '', gen] = word.split(' ')
    if (what === 'echo') echoes.arrive(session, Number(gen))
    else events.release(session)
  }
  const hearTails = (text: string) => {
    const told = parseTails(text)
    if (told.origin === tails?.origin) tails.back()
    // Its own too: what it put around by the bus may be lost on its way back.
    if (told.tails.length > 0) events.tails(told.tails)
  }
  const take = (channel: string, message: Buffer) => {
    if (channel === own) hear(message.toString())
    else if (channel === keys.tails) hearTails(message.toString())
    else if (channel === keys.change) events.change(parseChange(message))
    else if (channel === keys.gone) events.gone(message.toString().split(' '))
    else if (channel === keys.over) events.over(message.toString().split(' '))
    else if (channel === keys.ended) events.ended(Number(message.toString()))
    else if (channel.startsWith(batchPrefix)) {
      const stamp = Number(message.readBigUInt64BE(0))
      arrive(decodeBatch(channel.slice(batchPrefix.length), open(message.subarray(8))), stamp)
    }
  }
  const commands = new ScriptedRedis(options, 'damon-hub')
  const { redis } = commands
  const tellConnected = () => {
    if (!subscriber.complete) tails?.back()
    events.connected(redis.status === 'ready' && subscriber.complete)
  }
  const subscriber: RedisSubscriber = new RedisSubscriber({
    place: options,
    message: (channel, message) => {
      try {
        take(channel, message)
      } catch (error) {
        events.garbled(error)
      }
    },
    changed: () => {
      if (!subscriber.complete) events.interrupted()
      tellConnected()
    },
  })
  redis.on('ready', tellConnected)
  redis.on('close', tellConnected)
  try {
    await Promise.all([redis.connect(), subscriber.connect()])
    const news = [keys.change, keys.gone, keys.over, keys.ended, keys.tails]
    await Promise.all(news.map((channel) => subscriber.subscribe(channel)))
    const [origin, epoch] = (await commands.run(
      'admit',
      [keys.origin, keys.origins, keys.epoch, keys.swept, keys.logs],
      [workerLeaseMs, randomBytes(8).toString('hex'), randomInt(firstOrigins), randomInt(1, originSteps + 1)],
    )) as [number, string]
    own = keys.worker(origin)
    tails = new Tails(origin)
    await subscriber.subscribe(own)
    return build({ options, keys, commands, subscriber, echoes, tails, origin, epoch })
  } catch (error) {
    redis.disconnect()
    subscriber.close()
    throw error
  }
}

interface Parts {
  options: RedisOptions
  keys: RedisKeys
  commands: ScriptedRedis
  subscriber: RedisSubscriber
  echoes: Echoes
  tails: Tails
  origin: number
  epoch: string
}

function build({ options, keys, commands, subscriber, echoes, tails, origin, epoch }: Parts): RedisBackbone {
  const { redis } = commands
  const appender = new Appender(commands, keys, origin, logMs(options.times))
  const logs = new LogReader(redis, keys)
  let questions = 0
  const end = (what: Ending, whose: string | number, ...more: (string | number)[]) =>
    commands.run('end', endKeys(keys), [...endArguments(what, whose, options), ...more])
  const write = async (
    what: string,
    owner: string,
    subject: string,
    key: string,
    rest: (string | number | Buffer)[],
  ): Promise<Written> => {
    const reply = (await commands.run(
      'write',
      [keys.revision, keys.records, keys.values, keys.suspects, keys.session(owner), keys.prefix],
      [what, owner, subject, key, ...rest],
    )) as [string, number, number]
    if (reply[0] === 'ok') return { revision: reply[1], generation: reply[2] }
    return { refused: isErrorCode(reply[0]) ? reply[0] : 'internal' }
  }

  /** They go the way of all else: when they do not come back, nothing does. */
  const tellTails = () => {
    const now = performance.now()
    if (tails.isSilent(now)) {
      tails.back()
      subscriber.reconnect()
      return
    }
    const text = tails.due(now)
    if (text === undefined) return
    tails.sent(now)
    const told = isCluster(options) ? redis.spublish(keys.tails, text) : redis.publish(keys.tails, text)
    told.catch(() => tails.back())
  }

  const bus: Bus = {
    origin,
    async append(batches, freeze, asked) {
      const frozen = await appender.append(batches, freeze, asked)
      for (const { channel, last } of batches) tails.note(channel, last)
      return frozen
    },
    forget: (channels) => void commands.run('forget', [keys.heads(origin)], channels).catch(() => undefined),
    read: (ranges, bytes) => logs.read(ranges, bytes),
    async heads(channels) {
      const heads: Position[] = []
      const name = `heads${++questions}`
      for (let i = 0; i < channels.length; i += channelsPerCommand) {
        using echo = echoes.expect(name)
        const [count, flat] = (await commands.run(
          'heads',
          [keys.echoes, keys.prefix],
          [origin, name, ...channels.slice(i, i + channelsPerCommand)],
        )) as [number, string[]]
        heads.push(...positions(flat))
        await echo.numbered(count)
      }
      return heads
    },
    subscribe: (channel) => subscriber.subscribe(keys.batches(channel)),
    unsubscribe: (channel) => subscriber.unsubscribe(keys.batches(channel)),
  }

  const store: Store = {
    epoch,
    async openSession({ session, subject, ticket = '', channels }) {
      const reply = await commands.run(
        'open-session',
        [keys.origins, keys.n, keys.session(session), keys.sessions(origin), keys.prefix],
        [origin, session, subject, ticket, ...channels],
      )
      return joined(reply as [number, string[]])
    },
    async join(session, channel) {
      const reply = await commands.run('join', [keys.n, keys.session(session), keys.prefix], [session, channel])
      return joined(reply as [number, string[]])
    },
    async leave(session, channel) {
      await redis.multi().hdel(keys.members(channel), session).srem(keys.channels(session), channel).exec()
    },
    endSession: async (session, how) => void (await end(how, session)),
    async release(session, done) {
      await end('release', session, origin, done).catch((error) => {
        throw wrap(error)
      })
    },
    async takeOver({ session, subject, ticket, channels }) {
      using echo = echoes.expect(session)
      if (!subscriber.complete) throw new BusError('unavailable')
      try {
        const [what, owner, gen, done, lost, stamp, heads, leases] = (await commands.run(
          'take-over',
          [keys.origins, keys.n, keys.session(session), keys.away, keys.suspects, keys.prefix],
          [origin, session, subject, ticket, ...channels],
        )) as [string, number, number, number, number, number, string[], string[]]
        if (what === 'unknown_session') return { refused: what }
        if (what === 'busy') return { refused: what, owner }
        await echo.numbered(gen)
        return { ...joined([stamp, heads]), done, owner, lost: lost < 0 ? undefined : lost, leases }
      } catch (error) {
        // It may have happened: then it must not stay with a worker that does not know.
        end('release', session, origin, 0).catch(() => undefined)
        throw wrap(error)
      }
    },
    fence: async (ended) => void (await end('origin', ended)),
    async pick(channel) {
      const flat = (await redis.call('HRANDFIELD', keys.members(channel), 1, 'WITHVALUES')) as string[] | string[][]
      return membersOf(flat.flat())[0]
    },
    async pickFor({ session, number, deadlineMs }, channel, except) {
      const reply = await commands.run(
        'pick-for',
        [keys.members(channel), keys.prefix],
        [session, number, deadlineMs, randomInt(2 ** 31), pickedAmong, ...except],
      )
      return membersOf(reply as string[])[0]
    },
    async requests(session) {
      const reply = (await commands.run('asked', [keys.asked(session)], [])) as string[]
      const now = Number(reply.pop())
      return reply.map((text) => openRequest(text, now)).sort((a, b) => a.number - b.number)
    },
    async settled(requests) {
      const pipeline = redis.pipeline()
      for (const { session, number, picked } of requests) {
        pipeline.hdel(keys.asked(session), String(number))
        for (const member of picked) pipeline.zrem(keys.picked(member), `${session}/${number}`)
      }
      await pipeline.exec()
    },
    async absent(sessions) {
      if (sessions.length === 0) return []
      const gone = new Set<unknown>([null, 'lost'])
      const pipeline = redis.pipeline()
      for (const session of sessions) pipeline.hget(keys.session(session), 'stage')
      const replies = (await pipeline.exec()) ?? []
      return sessions.filter((_, i) => replies[i]?.[0] === null && gone.has(replies[i]?.[1]))
    },
    put: (put) =>
      write('put', put.owner, put.subject, put.key, [
        put.leased ? 1 : 0,
        put.expect ?? '',
        put.generation ?? '',
        '',
        seal(Buffer.from(put.value, 'latin1')),
        put.most ?? '',
      ]),
    patch: (owner, key, value) =>
      write('patch', owner, '', key, [1, '', '', '', seal(Buffer.from(value, 'latin1')), '']),
    drop: (drop) => write('drop', drop.owner, drop.subject, drop.key, [0, drop.expect ?? '', '', drop.reason, '', '']),
    async revision() {
      return Number((await redis.get(keys.revision)) ?? 0)
    },
    async snapshot() {
      const reading = redis.multi().get(keys.epoch).get(keys.revision).hgetall(keys.records).hgetallBuffer(keys.values)
      const [present, revision, metas, values] = ((await reading.exec()) ?? []).map((reply) => reply[1]) as [
        string | null,
        string | null,
        Record<string, string>,
        Record<string, Buffer>,
      ]
      // Nothing is to be learnt from a Redis that was emptied: this worker's own copy is all there is.
      if (present !== epoch) throw new Error('Redis was emptied.')
      const records = Object.entries(metas).map(([key, text]): StoredRecord => {
        const { revision, generation, leased, state } = JSON.parse(text) as Meta
        return { key, value: open(values[key] as Buffer).toString('latin1'), revision, generation, leased, state }
      })
      return { revision: Number(revision ?? 0), records }
    },
    async restore(records, revision) {
      const present = await redis.get(keys.epoch)
      if (present === epoch) return 0
      let count = 0
      for (let i = 0; i < records.length; i += recordsPerCommand) {
        const args = records.slice(i, i + recordsPerCommand).flatMap(({ key, value, revision, generation }) => {
          const known = { revision, generation, leased: false, state: 'live', owner: '', subject: '' }
          return [key, JSON.stringify(known), seal(Buffer.from(value, 'latin1'))]
        })
        const { revision: counter, records: known, values } = keys
        count += (await commands.run('restore', [counter, known, values], [revision, ...args])) as number
      }
      return count
    },
    async renew() {
      await subscriber.probe()
      tellTails()
      const renewed = await commands.run(
        'renew',
        [keys.origins, keys.log(origin), keys.heads(origin)],
        [origin, workerLeaseMs, appender.due],
      )
      return renewed === 1
    },
    sweep: async () => void (await end('sweep', '')),
  }

  return {
    bus,
    store,
    async [Symbol.asyncDispose]() {
      redis.disconnect()
      subscriber.close()
    },
  }
}
