import { readFileSync } from 'node:fs'
import { Redis, type RedisOptions } from 'ioredis'
import { RedisKeys } from './keys.ts'
import { SlotOwner } from './slot-owner.ts'

const scripts = [
  'admit',
  'append',
  'asked',
  'end',
  'forget',
  'heads',
  'join',
  'open-session',
  'pick-for',
  'renew',
  'restore',
  'take-over',
  'write',
] as const

/** A Lua file of this folder. */
export type ScriptName = (typeof scripts)[number]

/** How long a command may take before its outcome counts as unknown, ms. */
const commandMs = 1_000

/** A connection on which an answer is due and nothing comes for so long is dead, ms. */
const silentMs = 5_000

/** What may wait in the socket while Redis takes nothing, bytes. */
const lineBytes = 64 * 1024 * 1024

function textOf(name: ScriptName | 'prelude'): string {
  return readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8')
}

type Script = (keyCount: number, ...args: (string | number | Buffer)[]) => Promise<unknown>

/** Where Redis is: its URL, or those of several nodes of a cluster with commas between; and a key of the hub. */
export interface Place {
  url: string
  /** In front of every key, so that hubs can share a Redis. */
  prefix: string
  /** How connections are laid, where not to the URL. */
  Connector?: RedisOptions['Connector']
}

/** Whether the place is a Redis Cluster. */
export function isCluster({ url }: Place): boolean {
  return url.includes(',')
}

/** A connection to Redis, not yet opened: commands fail at once while it is down, nothing queues up. */
export function connectTo(place: Place, name: string): Redis {
  const options = {
    connectionName: name,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandMs,
    socketTimeout: silentMs,
    connectTimeout: 2_000,
    keepAlive: 5_000,
    retryStrategy: (attempt: number) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000) * (0.5 + Math.random() / 2),
  } satisfies RedisOptions
  let redis: Redis
  if (isCluster(place)) {
    const owner = new SlotOwner(place.url.split(','), new RedisKeys(place.prefix).n)
    redis = new Redis({ ...options, ...owner.options, reconnectOnError: ({ message }) => owner.moved(message) })
    // Also told when the slot leaves, and with it all subscriptions.
    redis.on('moved', () => redis.disconnect(true))
  } else {
    // After a failover the old primary is a replica: the name leads elsewhere by now.
    const { url, Connector } = place
    const reconnectOnError = ({ message }: Error) => message.startsWith('READONLY')
    redis = new Redis(url, { ...options, reconnectOnError, ...(Connector && { Connector }) })
  }
  // Reported by whoever asked; a connection without a listener would end the process.
  redis.on('error', () => undefined)
  return redis
}

/** A connection that knows the hub's scripts. */
export class ScriptedRedis {
  readonly redis: Redis

  constructor(place: Place, name: string) {
    this.redis = connectTo(place, name)
    // In a cluster only the node of a sharded channel's slot carries its messages.
    const prelude = `local publish = '${isCluster(place) ? 'SPUBLISH' : 'PUBLISH'}'\n${textOf('prelude')}`
    for (const name of scripts) this.redis.defineCommand(name, { lua: `${prelude}\n${textOf(name)}` })
  }

  async run(name: ScriptName, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    // Commands that timed out are still in the socket, and may still be done.
    if ((this.redis.stream?.writableLength ?? 0) > lineBytes) throw new Error('Redis does not take what it is sent.')
    const script = (this.redis as unknown as Record<ScriptName, Script>)[name]
    return script.call(this.redis, keys.length, ...keys, ...args)
  }
}
