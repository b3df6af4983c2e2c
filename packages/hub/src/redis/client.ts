import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'

const scripts = [
  'admit',
  'append',
  'end',
  'forget',
  'heads',
  'join',
  'open-session',
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

/** A connection to Redis, not yet opened: commands fail at once while it is down, nothing queues up. */
export function connectTo(url: string, name: string): Redis {
  const redis = new Redis(url, {
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
    // After a failover the old primary is a replica: the name leads elsewhere by now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000) * (0.5 + Math.random() / 2),
  })
  // Reported by whoever asked; a connection without a listener would end the process.
  redis.on('error', () => undefined)
  return redis
}

/** A connection that knows the hub's scripts. */
export class ScriptedRedis {
  readonly redis: Redis

  constructor(url: string, name: string) {
    this.redis = connectTo(url, name)
    const prelude = `local publish = 'PUBLISH'\n${textOf('prelude')}`
    for (const name of scripts) this.redis.defineCommand(name, { lua: `${prelude}\n${textOf(name)}` })
  }

  async run(name: ScriptName, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    // Commands that timed out are still in the socket, and may still be done.
    if ((this.redis.stream?.writableLength ?? 0) > lineBytes) throw new Error('Redis does not take what it is sent.')
    const script = (this.redis as unknown as Record<ScriptName, Script>)[name]
    return script.call(this.redis, keys.length, ...keys, ...args)
  }
}
