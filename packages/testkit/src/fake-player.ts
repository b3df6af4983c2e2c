import type { LoadOutcome } from './fake-lavalink-dialects.ts'
import { decodeTrack, type FakeTrack, playException, trackOf } from './fake-tracks.ts'

/** What a PATCH of a player may hold. */
export interface PlayerUpdate {
  track?: { encoded?: string | null; identifier?: string; userData?: unknown }
  position?: number
  endTime?: number | null
  volume?: number
  paused?: boolean
  filters?: unknown
  voice?: { token: string; endpoint: string; sessionId: string; channelId?: string }
}

/** What happened to the music of a guild: it began to sound, or it ended, at this position of the track. */
export interface JournalEntry {
  /** Monotonic ms, the same clock for all fakes of one process. */
  at: number
  guild: string
  what: 'start' | 'end'
  track: string
  /** ms within the track. */
  position: number
  /** Of an end: Lavalink's own reason, or `killed`. */
  reason?: string
}

/** What a player needs of the Lavalink around it. */
export interface PlayerHome {
  /** Sends an event to the client; `type` as in the field of that name. */
  tell(event: { type: string } & Record<string, unknown>): void
  /** The position has news. */
  update(player: FakePlayer): void
  note(entry: JournalEntry): void
  load(identifier: string): LoadOutcome
}

/** One guild's player: it plays by the clock, and makes no sound. */
export class FakePlayer {
  readonly guild: string
  readonly #home: PlayerHome
  #track: FakeTrack | undefined
  #volume = 100
  #paused = false
  #filters: unknown = {}
  #voice: PlayerUpdate['voice']
  /** Position at `#since`. */
  #position = 0
  #since = 0
  #end: ReturnType<typeof setTimeout> | undefined

  constructor(guild: string, home: PlayerHome) {
    this.guild = guild
    this.#home = home
  }

  get playing(): boolean {
    return this.#track !== undefined && !this.#paused
  }

  /** ms within the track. */
  get position(): number {
    if (!this.#track) return 0
    const passed = this.#paused ? 0 : performance.now() - this.#since
    return Math.min(Math.round(this.#position + passed), this.#track.info.length)
  }

  /** Whether the voice of the guild would come through. */
  get connected(): boolean {
    const { token, endpoint, sessionId, channelId } = this.#voice ?? {}
    return Boolean(token && endpoint && sessionId && channelId)
  }

  get state(): { time: number; position: number; connected: boolean; ping: number } {
    return { time: Date.now(), position: this.position, connected: this.connected, ping: this.connected ? 12 : -1 }
  }

  toJSON(): object {
    const track = this.#track ? { ...this.#track, info: { ...this.#track.info, position: this.position } } : null
    const voice = this.#voice ?? { token: '', endpoint: '', sessionId: '' }
    const { guild: guildId, state } = this
    return { guildId, track, volume: this.#volume, paused: this.#paused, state, voice, filters: this.#filters }
  }

  /** Does what a PATCH asks. */
  change(update: PlayerUpdate, noReplace: boolean): void {
    if (update.voice) this.#voice = update.voice
    if (update.volume !== undefined) this.#volume = update.volume
    if (update.filters !== undefined) this.#filters = update.filters
    const position = this.position
    if (update.paused !== undefined) this.#paused = update.paused
    const { encoded, identifier } = update.track ?? {}
    if (encoded === null) this.stop('stopped')
    else if ((encoded || identifier) && !(noReplace && this.#track))
      this.#start(encoded ? decodeTrack(encoded) : trackOf(identifier ?? ''), update)
    else if (this.#track) this.#continueAt(update.position ?? position)
  }

  /** Ends what is playing, with Lavalink's reason; `killed` is not told to the client. */
  stop(reason: string): void {
    const track = this.#track
    if (!track) return
    // Timers may be a millisecond early.
    const position = reason === 'finished' ? track.info.length : this.position
    clearTimeout(this.#end)
    this.#track = undefined
    this.#home.note({
      ...{ at: performance.now(), guild: this.guild, what: 'end' },
      ...{ track: track.info.identifier, position, reason },
    })
    if (reason !== 'killed') this.#home.tell({ type: 'TrackEndEvent', guildId: this.guild, track, reason })
  }

  /** The track gives no sound any more, and Lavalink says so. */
  stick(): void {
    if (!this.#track) return
    clearTimeout(this.#end)
    this.#home.tell({ type: 'TrackStuckEvent', guildId: this.guild, track: this.#track, thresholdMs: 10_000 })
  }

  #start(track: FakeTrack, { position = 0, track: wish }: PlayerUpdate): void {
    this.stop('replaced')
    this.#track = { ...track, userData: wish?.userData ?? {} }
    this.#home.tell({ type: 'TrackStartEvent', guildId: this.guild, track: this.#track })
    const outcome = this.#home.load(track.info.identifier)
    if (outcome !== 'track') {
      const exception = playException(outcome === 'empty' ? 'IOException: nothing was found' : outcome.fails)
      this.#home.tell({ type: 'TrackExceptionEvent', guildId: this.guild, track: this.#track, exception })
      const failed = this.#track
      this.#track = undefined
      this.#home.tell({ type: 'TrackEndEvent', guildId: this.guild, track: failed, reason: 'loadFailed' })
      return
    }
    this.#home.note({
      ...{ at: performance.now(), guild: this.guild, what: 'start' },
      ...{ track: track.info.identifier, position },
    })
    this.#continueAt(position)
  }

  #continueAt(position: number): void {
    clearTimeout(this.#end)
    this.#position = position
    this.#since = performance.now()
    const left = (this.#track?.info.length ?? 0) - position
    if (!this.#paused) this.#end = setTimeout(() => this.stop('finished'), left)
    this.#end?.unref()
    this.#home.update(this)
  }
}
