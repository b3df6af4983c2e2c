import type { PositionedFrame } from '@damon/protocol/frames'

/** Frames of one origin and destination that a session did not get: at most these. */
export interface Gap {
  origin: number
  to: string
  from: number
  until: number
}

/** What a session did not take, as ranges per origin and destination, until it is told. */
export class Missed {
  readonly #gaps = new Map<string, Gap>()

  /** `own` is the destination that stands for the session itself. */
  add(frame: PositionedFrame, own: string): void {
    const { origin, seq } = frame
    const to = frame.type === 'message' && !frame.any ? frame.to : own
    const gap = this.#gaps.get(`${origin} ${to}`)
    if (gap) gap.until = seq
    else this.#gaps.set(`${origin} ${to}`, { origin, to, from: seq, until: seq })
  }

  /** The gaps to tell; they count as told. */
  take(): Gap[] {
    const gaps = [...this.#gaps.values()]
    this.#gaps.clear()
    return gaps
  }
}
