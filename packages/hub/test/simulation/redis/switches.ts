import { Delivery } from '../../../src/delivery.ts'
import { LogBounds } from '../../../src/redis/log-bounds.ts'
import { Tails } from '../../../src/redis/tails.ts'
import { replace } from '../switches.ts'
import { RedisData, type Reply } from './data.ts'

/** The rules of the bus on Redis, each of which can be switched off from outside: the simulation has to find out. */
export const redisRules = {
  /** A worker that was ended, or is of another epoch, appends, releases and takes over nothing more. */
  fence: () =>
    answers((name, [key = '']) => (name === 'ZSCORE' && key.endsWith('}origins') ? { double: 1 } : undefined)),
  /** A session that a worker has is not taken over before that one has released it, or was ended. */
  release: () =>
    answers((name, [, ...fields], reply) =>
      name === 'HMGET' && fields.includes('done') && fields.includes('stage')
        ? (reply as Reply[]).map((value) => (value === 'live' ? 'away' : value))
        : undefined,
    ),
  /** Where everybody stands is asked when the subscription was broken. */
  audit: () => replace(Delivery.prototype, 'behind', () => () => undefined),
  /** Then nothing that arrives goes ahead of what was lost. */
  'lost before arrived': () => replace(Delivery.prototype, 'interrupted', () => () => undefined),
  /** Workers tell where they stand, so that the last batch that was lost shows too. */
  tails: () => replace(Tails.prototype, 'note', () => () => undefined),
  /** What a Redis has confirmed and its successor does not have is appended again. */
  'catching up': () => answers((name) => (name === 'XREVRANGE' ? [[`${Number.MAX_SAFE_INTEGER}-0`, []]] : undefined)),
  /** What a log does not reach back to is told. */
  proof: () =>
    answers((name, [, field], reply) =>
      name === 'HMGET' && field === 'trimmed' ? [null, ...(reply as Reply[]).slice(1)] : undefined,
    ),
}

export type RedisRule = keyof typeof redisRules

/** Logs that reach back so far only, ms. */
export function shortLogs(ms: number): Disposable {
  const added = new WeakMap<LogBounds, { seq: number; at: number }[]>()
  const ofLog = (log: LogBounds) => added.get(log) ?? added.set(log, []).get(log) ?? []
  const { add, due } = LogBounds.prototype
  LogBounds.prototype.add = function (seq, _, at) {
    ofLog(this).push({ seq, at })
  }
  LogBounds.prototype.due = function (now) {
    let seq = 0
    for (const log = ofLog(this); log[0] && log[0].at < now - ms; ) seq = log.shift()?.seq ?? 0
    return seq
  }
  return {
    [Symbol.dispose]() {
      Object.assign(LogBounds.prototype, { add, due })
    },
  }
}

/** Has Redis answer something else to commands, in scripts too. */
function answers(say: (name: string, args: string[], reply: Reply) => Reply | undefined): Disposable {
  return replace(RedisData.prototype, 'run', (run) => (name, args) => {
    const reply = run(name, args)
    const other = say(name, args, reply)
    return other === undefined ? reply : other
  })
}
