import type { NodeRecord } from '@damon/protocol/records'
import type { Logger } from '@damon/runtime/logger'
import type { NodeAnnouncement } from './announcement.ts'
import type { Clock } from './clock.ts'
import { type Case, type Health, judge, type Order, unknownHealth } from './decision.ts'
import type { Lavalink, Look } from './lavalink.ts'
import { type Evidence, noEvidence, type Observation, remember } from './observation.ts'
import { pause, type Rhythm } from './rhythm.ts'
import type { Thresholds } from './thresholds.ts'

/** Where bots find the node, and who looks after it. */
export type Place = Pick<NodeRecord, 'address' | 'otherAddresses' | 'region' | 'reachability' | 'sidecar'>

/** An observation that the node dates itself. */
export type Undated = Observation extends infer One ? (One extends Observation ? Omit<One, 'at'> : never) : never

/** What an audio node is made of. */
export interface AudioNodeOptions {
  lavalink: Lavalink
  announcement: NodeAnnouncement
  /** Undefined while it is not known: the node is not announced until then. */
  place: () => Place | undefined
  rhythm: Rhythm
  clock: Clock
  log: Logger
  limits: Thresholds
  /** Whether tracks are loaded as a test. */
  canary: boolean
  /** What an earlier life of the sidecar knew. */
  earlier?: Partial<Pick<Health, 'state' | 'reasons' | 'since' | 'played'>> | undefined
}

type WellLook = Extract<Look, { kind: 'well' }>

/** How long the hub may take to confirm that a record is gone, ms; a hub that is away must not hold up the end. */
const dropMs = 1_000

/** One Lavalink as this sidecar knows it: looked at, judged, and announced once it was seen to be well. */
export class AudioNode {
  readonly #options: AudioNodeOptions
  #evidence: Evidence = noEvidence
  #order: Order
  #health: Health
  #sinceUnix: number
  /** The last good look; a node without one was never verified and is not announced. */
  #verified: WellLook | undefined
  /** When something was last seen to play, monotonic ms. */
  #playedAt = Number.NEGATIVE_INFINITY
  #nap = new AbortController()
  readonly #listeners = new Set<(observation?: Undated) => void>()

  constructor(options: AudioNodeOptions) {
    this.#options = options
    this.#health = { ...unknownHealth(options.clock.now()), ...options.earlier }
    this.#sinceUnix = options.clock.unix() - (options.clock.now() - this.#health.since)
  }

  get health(): Health {
    return this.#health
  }

  /** When the state began, Unix ms. */
  get sinceUnix(): number {
    return this.#sinceUnix
  }

  get evidence(): Evidence {
    return this.#evidence
  }

  /** The newest good look; undefined when the newest look was none. */
  get well(): WellLook | undefined {
    const last = this.#evidence.look.at(-1)?.look
    return last?.kind === 'well' ? last : undefined
  }

  get verified(): boolean {
    return this.#verified !== undefined
  }

  /** For how long nothing was seen to play, ms; infinite when nothing ever was. */
  get emptyFor(): number {
    return this.#options.clock.now() - this.#playedAt
  }

  /** Hears every judgement, with the observation that led to it where there was one. */
  on(_event: 'judged', listener: (observation?: Undated) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** Resolves at the first judgement for which `is` holds, at once if it holds now; rejects with the reason of `signal`. */
  until(is: (node: AudioNode) => boolean, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const abort = () => reject(signal.reason)
    const check = () => is(this) && resolve()
    signal.addEventListener('abort', abort)
    const listening = this.on('judged', check)
    if (signal.aborted) abort()
    check()
    return promise.finally(() => {
      signal.removeEventListener('abort', abort)
      listening[Symbol.dispose]()
    })
  }

  /** Looks again and again until it is retired; rejects with the reason of `signal` once that is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, rhythm } = this.#options
    while (this.#health.state !== 'retired') {
      const look = await this.look(signal)
      this.#nap = new AbortController()
      const either = AbortSignal.any([signal, this.#nap.signal])
      await clock.sleep(pause(this.#health, look, rhythm), either).catch(() => signal.throwIfAborted())
    }
  }

  /** Ends the pause before the next look: something happened. */
  wake(): void {
    this.#nap.abort()
  }

  /** Looks once, judges and announces; rejects only with the reason of `signal`. */
  async look(signal: AbortSignal): Promise<Look> {
    const look = await this.#options.lavalink.look(signal)
    if (look.kind === 'well') {
      this.#verified = look
      if (look.load.playingPlayers > 0) this.#playedAt = this.#options.clock.now()
    } else this.#options.log.debug({ look: look.kind, reason: look.reason }, 'a look failed')
    this.observe({ source: 'look', look })
    return look
  }

  /** Takes what somebody saw into account at once. */
  observe(observation: Undated): void {
    const at = this.#options.clock.now()
    this.#evidence = remember(this.#evidence, { ...observation, at } as Observation, this.#options.limits)
    this.#judge(observation)
  }

  /** Takes the node out of use: its record says `draining` from now on, whatever Lavalink answers. */
  cordon(reason: string): void {
    this.#order = { state: 'draining', reason }
    this.#judge()
  }

  /** Announces again, because its place is another. */
  refresh(): void {
    this.#announce()
  }

  /** Takes the records away with this reason, for good. Never rejects, and waits for the hub only a short while. */
  async retire(reason: string): Promise<void> {
    const { announcement, clock, log } = this.#options
    this.#order = { state: 'retired', reason }
    this.#health = judge(this.#health, this.#case())
    const done = new AbortController()
    const late = clock.sleep(dropMs, done.signal).then(
      () => Promise.reject(new Error(`The hub did not confirm within ${dropMs} ms.`)),
      () => {},
    )
    try {
      await Promise.race([announcement.drop(reason), late])
      log.info({ reason }, 'node retired')
    } catch (error) {
      log.warn({ err: error, reason }, 'node retired, but its record stays until the hub lets it expire')
    } finally {
      done.abort()
    }
    this.#tell()
    this.wake()
  }

  #case(): Case {
    const { clock, limits, canary } = this.#options
    return { evidence: this.#evidence, order: this.#order, now: clock.now(), limits, canary }
  }

  #judge(observation?: Undated): void {
    // A late observation must not bring a retired node back.
    if (this.#health.state === 'retired') return
    const before = this.#health
    this.#health = judge(before, this.#case())
    const { state, reasons } = this.#health
    if (state !== before.state) {
      this.#sinceUnix = this.#options.clock.unix()
      const level = ['unreachable', 'misconfigured', 'suspect', 'exhausted'].includes(state) ? 'warn' : 'info'
      this.#options.log[level]({ state, before: before.state, reasons }, `node ${state}`)
    }
    this.#announce()
    this.#tell(observation)
  }

  #announce(): void {
    const { announcement, clock, place } = this.#options
    const { state } = this.#health
    const where = place()
    if (!this.#verified || !where || state === 'starting' || state === 'retired') return
    announcement.show(this.#record(this.#verified, where), clock.now())
  }

  #record({ version, api, load }: WellLook, place: Place): NodeRecord {
    const { state, reasons } = this.#health
    const current = state === 'ready' || this.well !== undefined
    return {
      state,
      reasons: [...reasons],
      since: this.#sinceUnix,
      ...place,
      version,
      api,
      load: current ? load : null,
    }
  }

  #tell(observation?: Undated): void {
    for (const listener of this.#listeners) listener(observation)
  }
}
