import { randomBytes } from 'node:crypto'
import { isErrorCode } from '@damon/protocol/errors'
import { Redis } from 'ioredis'
import { decodeBatch, encodeBatch } from './batch.ts'
import { type Arrive, type Batch, type Bus, BusError, type Member } from './bus.ts'
import { ScriptedRedis } from './redis/client.ts'
import { RedisKeys } from './redis/keys.ts'
import { open, seal } from './seal.ts'
import {
  type RecordChange,
  type Store,
  type StoredRecord,
  type StoreEvents,
  type Written,
  workerLeaseMs,
} from './store.ts'

/** How long a worker's log outlives its last append, ms. */
const logMs = 90_000

/** Bus and store of a hub of many machines, in one Redis. */
export interface RedisBackbone extends AsyncDisposable {
  readonly bus: Bus
  readonly store: Store
}

export interface RedisOptions {
  url: string
  /** In front of every key, so that hubs can share a Redis. */
  prefix: string
  graceMs: number
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
  await redis.run('end', endKeys(new RedisKeys(options.prefix)), ['origin', origin, 'lost', options.graceMs])
}

function endKeys(keys: RedisKeys): string[] {
  return [keys.origins, keys.revision, keys.records, keys.values, keys.suspects, keys.prefix]
}

/**
 * Connects this worker to Redis: one connection for commands, one for what arrives.
 * @throws when Redis cannot be reached
 */
export async function openRedis(options: RedisOptions, arrive: Arrive, events: StoreEvents): Promise<RedisBackbone> {
  const keys = new RedisKeys(options.prefix)
  const commands = new ScriptedRedis(options.url, 'damon-hub')
  const { redis } = commands
  const subscriber = new Redis(options.url, {
    connectionName: 'damon-hub-subscriber',
    lazyConnect: true,
    keepAlive: 5_000,
    autoResubscribe: true,
    maxRetriesPerRequest: null,
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000) * (0.5 + Math.random() / 2),
  })
  subscriber.on('error', () => undefined)
  const reach = () => events.reachable(redis.status === 'ready' && subscriber.status === 'ready')
  for (const connection of [redis, subscriber]) {
    connection.on('ready', reach)
    connection.on('close', reach)
  }
  await Promise.all([redis.connect(), subscriber.connect()])

  const batchPrefix = keys.batches('')
  subscriber.on('messageBuffer', (name: Buffer, message: Buffer) => {
    const channel = name.toString()
    if (channel === keys.change) events.change(parseChange(message))
    else if (channel === keys.gone) events.gone(message.toString().split(' '))
    else if (channel.startsWith(batchPrefix)) {
      const stamp = Number(message.readBigUInt64BE(0))
      arrive(decodeBatch(channel.slice(batchPrefix.length), open(message.subarray(8))), stamp)
    }
  })
  await subscriber.subscribe(keys.change, keys.gone)
  const [origin, epoch] = (await commands.run(
    'admit',
    [keys.origin, keys.origins, keys.epoch],
    [workerLeaseMs, randomBytes(8).toString('hex')],
  )) as [number, string]

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
        batches.reduce((last, batch) => Math.max(last, batch.frames.at(-1)?.seq ?? 0), 0),
        logMs,
        batches.length,
      ]
      for (const batch of batches) args.push(batch.channel, batch.frames.at(-1)?.seq ?? 0, seal(encodeBatch(batch)))
      args.push(batchPrefix)
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
    async subscribe(channel) {
      await subscriber.subscribe(keys.batches(channel))
    },
    unsubscribe(channel) {
      subscriber.unsubscribe(keys.batches(channel)).catch(() => undefined)
    },
  }

  const store: Store = {
    epoch,
    async openSession(entry) {
      return (await commands.run(
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
    },
    async join(session, channel) {
      return (await commands.run(
        'join',
        [keys.n, keys.session(session), keys.channels(session), keys.members(channel)],
        [session, channel],
      )) as number
    },
    async leave(session, channel) {
      await redis.multi().hdel(keys.members(channel), session).srem(keys.channels(session), channel).exec()
    },
    async endSession(session, how) {
      await commands.run('end', endKeys(keys), ['session', session, how, options.graceMs])
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
      return (await commands.run('renew', [keys.origins], [origin, workerLeaseMs])) === 1
    },
    async sweep() {
      await commands.run('end', endKeys(keys), ['sweep', '', 'lost', options.graceMs])
    },
  }

  return {
    bus,
    store,
    async [Symbol.asyncDispose]() {
      redis.disconnect()
      subscriber.disconnect()
    },
  }
}
