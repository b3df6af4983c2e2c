import type { Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { laneOf } from './aside.ts'
import type { Batch, Logged, Range } from './bus.ts'
import type { Context } from './context.ts'
import type { Session } from './session.ts'
import { WireFrame, WireRun } from './wire-run.ts'
import { framesOf } from './ws-frame.ts'

/** When requests did not concern the session. */
interface Absence {
  /** Stamp of its end; undefined: it was there all the time. */
  lost: number | undefined
  /** Stamp of its return. */
  stamp: number
}

/** Gives one session what the logs hold of what it has missed, as fast as it takes it. */
export class Replay {
  readonly #session: Session
  readonly #context: Context
  readonly #absence: Absence
  /** Up to where it has everything, per lane. */
  readonly #has: Map<string, number>
  #left: number = limits.replayBytes
  /** How many frames it was given. */
  frames = 0
  /** Whether words on its requests may be missing. */
  lostWords = false

  constructor(session: Session, options: { context: Context; taken: Absence; positions: readonly Position[] }) {
    this.#session = session
    this.#context = options.context
    this.#absence = options.taken
    this.#has = new Map(options.positions.map((position) => [laneOf(position), position.seq]))
  }

  /** Whether there is something in this range that it has not. */
  isNew(range: Range): boolean {
    return range.until > (this.#has.get(laneOf(range)) ?? 0)
  }

  /** Gives it all up to the ends of these ranges, and tells what cannot be had. */
  async upTo(ends: readonly Range[]): Promise<void> {
    const ranges = ends.flatMap((range) => {
      const from = Math.max(range.from, (this.#has.get(laneOf(range)) ?? 0) + 1)
      return from <= range.until ? [{ ...range, from }] : []
    })
    for (const range of ranges) this.#has.set(laneOf(range), range.until)
    if (ranges.length === 0) return
    if (this.#left <= 0) return this.#tell(ranges)
    // This worker's own frames are in its log a moment after they went out.
    await this.#context.publisher.confirmed()
    const { readings } = this.#context
    await readings.read(ranges, this.#left, ({ batches, missing }) => this.#give(batches, missing))
  }

  /** In the order of the logs, each gap before what comes after it. */
  async #give(batches: readonly Logged[], missing: readonly Range[]): Promise<void> {
    let gaps = missing
    for (const { batch, stamp } of batches) {
      if (this.#session.isClosed) return
      this.#left -= batch.bytes.length
      const before = gaps.filter((gap) => isOf(gap, batch) && gap.from < batch.first)
      if (before.length > 0) {
        this.#tell(before)
        gaps = gaps.filter((gap) => !before.includes(gap))
      }
      await this.#giveBatch(batch, stamp)
    }
    this.#tell(gaps)
  }

  async #giveBatch(batch: Batch, stamp: number): Promise<void> {
    const { lost, stamp: back } = this.#absence
    if (batch.kind !== 'request') {
      const run = new WireRun(batch.bytes)
      this.frames += run.frames
      return this.#session.egress.replay(run)
    }
    // What was asked of those who were there was not asked of this one, unless it was alone asked.
    const alone = batch.channel === `session/${this.#session.id}`
    if (!alone && lost !== undefined && stamp > lost && stamp <= back) return
    for (const frame of framesOf(batch.bytes)) {
      this.frames++
      await this.#session.egress.replayRequest(new WireFrame(frame))
    }
  }

  #tell(gaps: readonly Range[]): void {
    for (const gap of gaps) {
      if (gap.to === `session/${this.#session.id}`) this.lostWords = true
      this.#context.metrics.gaps.inc({ where: 'resume' })
      this.#session.send({ type: 'gap', ...gap })
    }
  }
}

function isOf({ origin, to }: Range, batch: Batch): boolean {
  return origin === batch.origin && to === batch.channel
}
