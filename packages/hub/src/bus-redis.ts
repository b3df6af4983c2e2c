import { randomBytes, randomInt } from 'node:crypto'
import { isErrorCode } from '@damon/protocol/errors'
import { decodeBatch, encodeBatch } from './batch.ts'
import { type Arrive, type Batch, type Bus, BusError, type Member } from './bus.ts'
import { ScriptedRedis } from './redis/client.ts'
import { RedisKeys } from './redis/keys.ts'
import { RedisSubscriber } from './redis/subscriber.ts'
import { open, seal } from './seal.ts'
import {
  lateSweepMs,
  type RecordChange,
  type Store,
  type StoredRecord,
  type StoreEvents,
  type StoreTimes,
  type Written,
  workerLeaseMs,
} from './store.ts'

/** How long a worker's log outlives its last append, ms. */
const logMs = 90_000

/**
 * Where the numbers of workers begin in an empty Redis, at random below this: a Redis that was emptied must not give the
 * numbers of workers that still live.
 */
const firstOrigins = 2 ** 31

/** Bus and store of a hub of many machines, in one Redis. */
export interface RedisBackbone extends AsyncDisposable {
  readonly bus: Bus
  readonly store: Store
}

export interface RedisOptions {
  url: string
  /** In front of every key, so that hubs can share a Redis. */
  prefix: string
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

function members(flat: string[]): Member[] {
  const list: Member[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) list.push({ session: flat[i] as string, subject: flat[i + 1] as string })
  return list
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
    record: { key, revision, generation, leased, state, value: open(message.subarray(cut + 1)) },
  }
}

/**
 * Ends every session of a worker whose process is gone, from outside of it.
 * @throws when Redis cannot be reached; the worker's lease then does the same a few seconds later
 */
export async function endRedisWorker(redis: ScriptedRedis, options: RedisOptions, origin: number): Promise<void> {
  await redis.run('end', endKeys(new RedisKeys(options.prefix)), [
    'origin',
    origin,
    'lost',
    options.times.graceMs,
    lateSweepMs,
  ])
}

function endArguments(what: string, whose: string | number, how: 'left' | 'lost', { times }: RedisOptions) {
  return [what, whose, how, times.graceMs, lateSweepMs, workerLeaseMs]
}

function endKeys(keys: RedisKeys): string[] {
  return [keys.origins, keys.revision, keys.records, keys.values, keys.suspects, keys.swept, keys.prefix]
}

/**
 * Connects this worker to Redis: one connection for commands, one for what arrives.
 * Rejects when Redis cannot be reached; nothing stays open then.
 */
export async function openRedis(options: RedisOptions, arrive: Arrive, events: StoreEvents): Promise<RedisBackbone> {
  const keys = new RedisKeys(options.prefix)
  const batchPrefix = keys.batches('')
  const take = (channel: string, message: Buffer) => {
    if (channel === keys.change) events.change(parseChange(message))
    else if (channel === keys.gone) events.gone(message.toString().split(' '))
    else if (channel === keys.ended) events.ended(Number(message.toString()))
    else if (channel.startsWith(batchPrefix)) {
      const stamp = Number(message.readBigUInt64BE(0))
      arrive(decodeBatch(channel.slice(batchPrefix.length), open(message.subarray(8))), stamp)
    }
  }
  const commands = new ScriptedRedis(options.url, 'damon-hub')
  const { redis } = commands
  const tellConnected = () => events.connected(redis.status === 'ready' && subscriber.complete)
  const subscriber: RedisSubscriber = new RedisSubscriber({
    url: options.url,
    message: (channel, message) => {
      try {
        take(channel, message)
      } catch (error) {
        events.garbled(error)
      }
    },
    changed: tellConnected,
  })
  redis.on('ready', tellConnected)
  redis.on('close', tellConnected)
  try {
    await Promise.all([redis.connect(), subscriber.connect()])
    await Promise.all([keys.change, keys.gone, keys.ended].map((channel) => subscriber.subscribe(channel)))
    const [origin, epoch] = (await commands.run(
      'admit',
      [keys.origin, keys.origins, keys.epoch, keys.swept],
      [workerLeaseMs, randomBytes(8).toString('hex'), randomInt(firstOrigins)],
    )) as [number, string]
    return build({ options, keys, commands, subscriber, origin, epoch })
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
  origin: number
  epoch: string
}

function build({ options, keys, commands, subscriber, origin, epoch }: Parts): RedisBackbone {
  const { redis } = commands
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

  const bus: Bus = {
    origin,
    async append(batches: Batch[], freeze: string[]): Promise<Member[][]> {
      const args: (string | number | Buffer)[] = [
        origin,
        batches.reduce((highest, batch) => Math.max(highest, batch.last), 0),
        logMs,
        batches.length,
      ]
      for (const batch of batches) args.push(batch.channel, batch.last, seal(encodeBatch(batch)))
      args.push(keys.batches(''))
      try {
        const frozen = await commands.run(
          'append',
          [
            keys.origins,
            keys.log(origin),
            keys.heads(origin),
            keys.n,
            ...freeze.map((channel) => keys.members(channel)),
          ],
          args,
        )
        return (frozen as string[][]).map(members)
      } catch (error) {
        throw wrap(error)
      }
    },
    forget: () => undefined,
    read: async (ranges) => ({ batches: [], missing: ranges }),
    subscribe: (channel) => subscriber.subscribe(keys.batches(channel)),
    unsubscribe: (channel) => subscriber.unsubscribe(keys.batches(channel)),
  }

  const store: Store = {
    epoch,
    async openSession(entry) {
      const stamp = (await commands.run(
        'open-session',
        [
          keys.origins,
          keys.n,
          keys.session(entry.session),
          keys.channels(entry.session),
          keys.sessions(origin),
          ...entry.channels.map((channel) => keys.members(channel)),
        ],
        [origin, entry.session, entry.subject, ...entry.channels],
      )) as number
      return { stamp, heads: [] }
    },
    async join(session, channel) {
      const stamp = (await commands.run(
        'join',
        [keys.n, keys.session(session), keys.channels(session), keys.members(channel)],
        [session, channel],
      )) as number
      return { stamp, heads: [] }
    },
    async leave(session, channel) {
      await redis.multi().hdel(keys.members(channel), session).srem(keys.channels(session), channel).exec()
    },
    async endSession(session, how) {
      await commands.run('end', endKeys(keys), endArguments('session', session, how, options))
    },
    async release(session) {
      await commands.run('end', endKeys(keys), endArguments('session', session, 'lost', options))
    },
    takeOver: async () => ({ refused: 'unknown_session' }),
    async fence(ended) {
      await commands.run('end', endKeys(keys), endArguments('origin', ended, 'lost', options))
    },
    async pick(channel) {
      const flat = (await redis.call('HRANDFIELD', keys.members(channel), 1, 'WITHVALUES')) as string[] | string[][]
      return members(flat.flat())[0]
    },
    async absent(sessions) {
      if (sessions.length === 0) return []
      const pipeline = redis.pipeline()
      for (const session of sessions) pipeline.exists(keys.session(session))
      const replies = (await pipeline.exec()) ?? []
      return sessions.filter((_, i) => replies[i]?.[0] === null && replies[i]?.[1] === 0)
    },
    put: (put) =>
      write('put', put.owner, put.subject, put.key, [
        put.leased ? 1 : 0,
        put.expect ?? '',
        put.generation ?? '',
        '',
        seal(put.value),
      ]),
    patch: (owner, key, value) => write('patch', owner, '', key, [1, '', '', '', seal(value)]),
    drop: (drop) => write('drop', drop.owner, drop.subject, drop.key, [0, drop.expect ?? '', '', drop.reason, '']),
    async snapshot() {
      const replies = await redis.multi().get(keys.revision).hgetall(keys.records).hgetallBuffer(keys.values).exec()
      const [revision, metas, values] = (replies ?? []).map((reply) => reply[1]) as [
        string | null,
        Record<string, string>,
        Record<string, Buffer>,
      ]
      const records = Object.entries(metas).map(([key, text]): StoredRecord => {
        const { revision, generation, leased, state } = JSON.parse(text) as Meta
        return { key, value: open(values[key] as Buffer), revision, generation, leased, state }
      })
      return { revision: Number(revision ?? 0), records }
    },
    async renew() {
      await subscriber.probe()
      return (await commands.run('renew', [keys.origins], [origin, workerLeaseMs])) === 1
    },
    async sweep() {
      await commands.run('end', endKeys(keys), endArguments('sweep', '', 'lost', options))
    },
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
