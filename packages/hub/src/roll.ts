import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '@damon/runtime/logger'
import { evenOut, type Load } from './balance.ts'

/** What a roll does with workers; W stands for one. */
export interface Fleet<W> {
  /** Those that serve. */
  readonly serving: W[]
  /** Starts one more; rejects when it does not come to serve. */
  add(): Promise<W>
  /** Lets a worker's clients go and the worker end; resolves when its process is gone. */
  retire(worker: W): Promise<void>
  /** Leaves new connections to these; the others keep what they have. */
  accept(takers: readonly W[]): void
  /** Sends so many of its clients away; resolves when the time for that is over. */
  part(moves: readonly { worker: W; count: number }[]): Promise<void>
  /** Sessions of each that serves, counted now. */
  count(): Promise<Load<W>[]>
}

/** Looks at the shares after a roll, at most: as long as clients are still on their way, or the shares are not even. */
const evenings = 20
/** Of the sessions before a roll so many are back when nobody is on the way any more: some leave for good. */
const back = 0.98
/** Who left one worker is counted by the next after so long, ms. */
const arriveMs = 500

/** Replaces workers by new ones, one after another, new before old. One roll at a time; a wish meanwhile is one for after it. */
export class Roll<W> {
  readonly #fleet: Fleet<W>
  readonly #log: Logger
  readonly #stopping: AbortSignal
  readonly #done: (result: 'done' | 'failed') => void
  #running: Promise<void> | undefined
  #again = false

  constructor(options: {
    fleet: Fleet<W>
    log: Logger
    stopping: AbortSignal
    /** Called after each. */
    done: (result: 'done' | 'failed') => void
  }) {
    this.#fleet = options.fleet
    this.#log = options.log
    this.#stopping = options.stopping
    this.#done = options.done
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** Begins, or notes the wish. */
  begin(reason: string): void {
    if (this.#running) {
      this.#again = true
      return
    }
    this.#log.info({ reason }, 'the workers are replaced')
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      if (!this.#again || this.#stopping.aborted) return
      this.#again = false
      this.begin(`${reason}, again`)
    })
  }

  /** Resolves when none runs any more. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running
  }

  async #run(): Promise<void> {
    const began = performance.now()
    const old = [...this.#fleet.serving]
    try {
      const before = total(await this.#fleet.count())
      for (const worker of old) {
        if (this.#stopping.aborted) return
        const next = await this.#fleet.add()
        // It takes as many as the old one gives: nobody moves to a worker that will be replaced as well.
        this.#fleet.accept([next])
        await this.#fleet.retire(worker)
      }
      this.#open()
      await this.#even(before)
      this.#log.info({ workers: old.length, ms: Math.round(performance.now() - began) }, 'all workers are new')
      this.#done('done')
    } catch (error) {
      this.#open()
      if (this.#stopping.aborted) return
      this.#log.error({ err: error }, 'a new worker does not come to serve: the old ones go on')
      this.#done('failed')
    }
  }

  #open(): void {
    this.#fleet.accept(this.#fleet.serving)
  }

  async #even(before: number): Promise<void> {
    for (let times = 0; times < evenings && !this.#stopping.aborted; times++) {
      await sleep(arriveMs)
      const loads = await this.#fleet.count()
      const move = evenOut(loads)
      this.#log.info(
        { sessions: loads.map(({ sessions }) => sessions), part: move?.part.length ?? 0 },
        'the shares of the workers',
      )
      if (!move && total(loads) >= before * back) return
      if (!move) continue
      this.#fleet.accept(move.take)
      await this.#fleet.part(move.part)
      await sleep(arriveMs)
      this.#open()
    }
  }
}

function total<W>(loads: readonly Load<W>[]): number {
  return loads.reduce((sum, { sessions }) => sum + sessions, 0)
}
