import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'

const scripts = ['admit', 'append', 'renew', 'open-session', 'join', 'end', 'write'] as const

/** A Lua file of this folder. */
export type ScriptName = (typeof scripts)[number]

/** How long a command may take before its outcome counts as unknown, ms. */
export const commandMs = 1_000

type Script = (keyCount: number, ...args: (string | number | Buffer)[]) => Promise<unknown>

/** A connection that knows the hub's scripts. Commands fail at once while it is down; nothing queues up. */
export class ScriptedRedis {
  readonly redis: Redis

  constructor(url: string, name: string) {
    this.redis = new Redis(url, {
      connectionName: name,
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: commandMs,
      connectTimeout: 2_000,
      keepAlive: 5_000,
      retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000) * (0.5 + Math.random() / 2),
    })
    // Reported by whoever asked; a connection without a listener would end the process.
    this.redis.on('error', () => undefined)
    for (const name of scripts)
      this.redis.defineCommand(name, { lua: readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8') })
  }

  run(name: ScriptName, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    const script = (this.redis as unknown as Record<ScriptName, Script>)[name]
    return script.call(this.redis, keys.length, ...keys, ...args)
  }
}
