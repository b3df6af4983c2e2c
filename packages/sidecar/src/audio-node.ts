import type { NodeRecord } from '@damon/protocol/records'
import type { Logger } from '@damon/runtime/logger'
import type { NodeAnnouncement } from './announcement.ts'
import type { Clock } from './clock.ts'
import { type Health, judge, memory, type Observation, type Order, pause, type Rhythm } from './health.ts'
import type { Lavalink, Look } from './lavalink.ts'

/** Where bots find the node. */
export type Place = Pick<NodeRecord, 'address' | 'region'>

/** What an audio node is made of. */
export interface AudioNodeOptions {
  lavalink: Lavalink
  announcement: NodeAnnouncement
  place: Place
  rhythm: Rhythm
  clock: Clock
  log: Logger
}

/** How long the hub may take to confirm that a record is gone, ms; a hub that is away must not hold up the end. */
const dropMs = 1_000

/** One Lavalink as this sidecar knows it: looked at, judged, and announced once it was seen to be well. */
export class AudioNode {
  readonly #lavalink: Lavalink
  readonly #announcement: NodeAnnouncement
  readonly #place: Place
  readonly #rhythm: Rhythm
  readonly #clock: Clock
  readonly #log: Logger
  #observations: Observation[] = []
  #order: Order
  #health: Health
  #sinceUnix: number
  /** The last good look; a node without one was never verified and is not announced. */
  #verified: Extract<Look, { kind: 'well' }> | undefined

  constructor({ lavalink, announcement, place, rhythm, clock, log }: AudioNodeOptions) {
    this.#lavalink = lavalink
    this.#announcement = announcement
    this.#place = place
    this.#rhythm = rhythm
    this.#clock = clock
    this.#log = log
    this.#health = { state: 'starting', reasons: ['not looked at yet'], since: clock.now() }
    this.#sinceUnix = clock.unix()
  }

  get health(): Health {
    return this.#health
  }

  get verified(): boolean {
    return this.#verified !== undefined
  }

  /** Looks again and again; rejects with the reason of `signal` once that is aborted. */
  async run(signal: AbortSignal): Promise<never> {
    for (;;) {
      const look = await this.look(signal)
      await this.#clock.sleep(pause(this.#health, look, this.#rhythm), signal)
    }
  }

  /** Looks once, judges and announces; rejects only with the reason of `signal`. */
  async look(signal: AbortSignal): Promise<Look> {
    const look = await this.#lavalink.look(signal)
    if (look.kind === 'well') this.#verified = look
    else this.#log.debug({ look: look.kind, reason: look.reason }, 'a look failed')
    this.#observations = [...this.#observations, { at: this.#clock.now(), look }].slice(-memory)
    this.#judge()
    return look
  }

  /** Takes the node out of use: its record says `draining` from now on, whatever Lavalink answers. */
  cordon(): void {
    this.#order = 'drain'
    this.#judge()
  }

  /** Takes the records away with this reason, for good. Never rejects, and waits for the hub only a short while. */
  async retire(reason: string): Promise<void> {
    this.#order = 'retire'
    this.#health = judge(this.#health, this.#observations, this.#order, this.#clock.now())
    const done = new AbortController()
    const late = this.#clock.sleep(dropMs, done.signal).then(
      () => Promise.reject(new Error(`The hub did not confirm within ${dropMs} ms.`)),
      () => {},
    )
    try {
      await Promise.race([this.#announcement.drop(reason), late])
      this.#log.info({ reason }, 'node retired')
    } catch (error) {
      this.#log.warn({ err: error, reason }, 'node retired, but its record stays until the hub lets it expire')
    } finally {
      done.abort()
    }
  }

  #judge(): void {
    const before = this.#health
    this.#health = judge(before, this.#observations, this.#order, this.#clock.now())
    const { state, reasons } = this.#health
    if (state !== before.state) {
      this.#sinceUnix = this.#clock.unix()
      const level = state === 'unreachable' || state === 'misconfigured' ? 'warn' : 'info'
      this.#log[level]({ state, before: before.state, reasons }, `node ${state}`)
    }
    if (this.#verified) this.#announcement.show(this.#record(this.#verified), this.#clock.now())
  }

  #record({ version, load }: Extract<Look, { kind: 'well' }>): NodeRecord {
    const { state, reasons } = this.#health
    const current = state === 'ready' || this.#observations.at(-1)?.look.kind === 'well'
    return { state, reasons, since: this.#sinceUnix, ...this.#place, version, api: 'v4', load: current ? load : null }
  }
}
