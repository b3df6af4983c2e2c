import { limits } from '@damon/protocol/limits'
import { delay } from '@damon/runtime/retry'
import { encodeBatch } from '../batch.ts'
import { type Asked, type Batch, BusError, type Member } from '../bus.ts'
import { sealBytes, sealInPlace } from '../seal.ts'
import type { ScriptedRedis } from './client.ts'
import type { RedisKeys } from './keys.ts'
import { LogBounds } from './log-bounds.ts'

/** What was confirmed is kept so long, and so much of it, in case a failover loses it: ms, bytes. */
const kept = { ms: 5_000, bytes: 8 * 1024 * 1024 }

type Arguments = (string | number | Buffer)[]

/** An append that Redis has confirmed. */
interface Promised {
  highest: number
  bytes: number
  at: number
  args: Arguments
}

/** Members as a script answers them: sessions and subjects in turn. */
export function membersOf(flat: string[]): Member[] {
  const list: Member[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) list.push({ session: flat[i] as string, subject: flat[i + 1] as string })
  return list
}

/**
 * Appends to one origin's log. A connection that breaks is bridged for a second: Redis knows an append that it has already.
 * What it has confirmed and lost, because another took its place, is appended again before anything else.
 */
export class Appender {
  readonly #commands: ScriptedRedis
  readonly #keys: RedisKeys
  readonly #origin: number
  readonly #bounds: LogBounds
  readonly #promised: Promised[] = []
  #promisedBytes = 0
  /** Since when there is no connection, monotonic ms. */
  #downSince: number | undefined
  #up = Promise.withResolvers<void>()
  /** Whether the log has all that was promised; not known on a new connection. */
  #complete = true

  constructor(commands: ScriptedRedis, keys: RedisKeys, origin: number, logMs: number) {
    this.#commands = commands
    this.#keys = keys
    this.#origin = origin
    this.#bounds = new LogBounds({ ms: logMs, bytes: limits.logBytes })
    commands.redis.on('ready', () => {
      this.#downSince = undefined
      this.#up.resolve()
      this.#catchUp().catch(() => undefined)
    })
    commands.redis.on('close', () => {
      if (this.#downSince !== undefined) return
      this.#downSince = performance.now()
      this.#up = Promise.withResolvers()
      this.#complete = false
    })
  }

  /** The number up to which the log is to be cut. */
  get due(): number {
    return this.#bounds.due(performance.now())
  }

  /** As `Bus.append`. */
  async append(batches: Batch[], freeze: string[], asked: Asked[] = []): Promise<Member[][]> {
    const highest = batches.reduce((highest, batch) => Math.max(highest, batch.last), 0)
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.length, 0)
    const began = performance.now()
    if (batches.length > 0) this.#bounds.add(highest, bytes, began)
    const args: Arguments = [this.#origin, highest, this.due, batches.length]
    for (const batch of batches) args.push(batch.channel, batch.last, sealInPlace(encodeBatch(batch, sealBytes)))
    args.push(this.#keys.batches(''))
    const requests = asked.flatMap((one) => askedArguments(one, freeze))
    const until = Math.min(began, this.#downSince ?? began) + limits.appendMs
    for (;;) {
      try {
        if (!this.#complete) await this.#catchUp()
        const frozen = await this.#run([...args, ...requests], freeze)
        if (batches.length > 0) this.#promise({ highest, bytes, at: performance.now(), args })
        return (frozen as string[][]).map(membersOf)
      } catch (error) {
        if (isFenced(error)) throw new BusError('fenced', error)
        await this.#connected(until).catch(() => {
          throw new BusError('unavailable', error)
        })
      }
    }
  }

  #run(args: Arguments, freeze: string[]): Promise<unknown> {
    const { origins, n, prefix } = this.#keys
    const members = freeze.map((channel) => this.#keys.members(channel))
    return this.#commands.run(
      'append',
      [origins, this.#keys.log(this.#origin), this.#keys.heads(this.#origin), n, prefix, ...members],
      args,
    )
  }

  #promise(promised: Promised): void {
    this.#promised.push(promised)
    this.#promisedBytes += promised.bytes
    for (;;) {
      const [first] = this.#promised
      if (!first || (first.at > promised.at - kept.ms && this.#promisedBytes <= kept.bytes)) return
      this.#promised.shift()
      this.#promisedBytes -= first.bytes
    }
  }

  /** Whoever answers now may know less than was promised. */
  async #catchUp(): Promise<void> {
    const [latest] = await this.#commands.redis.xrevrange(this.#keys.log(this.#origin), '+', '-', 'COUNT', 1)
    const last = latest ? Number.parseInt(latest[0], 10) : 0
    for (const { highest, args } of this.#promised) if (highest > last) await this.#run(args, [])
    this.#complete = this.#downSince === undefined
  }

  /** Resolves when there is a connection; rejects when there is none in time, or when that is not what was missing. */
  async #connected(until: number): Promise<void> {
    // A connection that just broke is not always known to be down yet.
    await delay(Math.min(pauseMs, Math.max(0, until - performance.now())))
    const left = until - performance.now()
    if (left <= 0) throw new Error('Too late.')
    if (this.#downSince === undefined) return
    const waited = new AbortController()
    const late = delay(left, waited.signal).then(() => {
      throw new Error('Too late.')
    })
    await Promise.race([this.#up.promise, late]).finally(() => waited.abort())
  }
}

function askedArguments({ session, number, channel, deadlineMs, quorum, member }: Asked, freeze: string[]): Arguments {
  const place = member ? 0 : freeze.indexOf(channel) + 1
  const rest = JSON.stringify({ channel, quorum })
  return [session, number, deadlineMs, rest, place, member?.session ?? '', member?.subject ?? '']
}

/** Between two tries of an append, ms. */
const pauseMs = 20

function isFenced(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('FENCED')
}
