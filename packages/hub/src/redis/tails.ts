import type { Position } from '@damon/protocol/frames'

/** Channels told of at a time; the rest comes next. */
const perTelling = 4_096

/** What is told even when nothing was appended, so that silence means a fault: at least so often, ms. */
export const idleMs = 10_000

/** How long the own word may take to come back, ms. */
export const backMs = 5_000

/** Where this worker stands on the channels that it used of late, for those who have lost the last that it put there. */
export class Tails {
  readonly origin: number
  readonly #last = new Map<string, number>()
  /** When the last word was sent, and when the oldest of those that are not back yet. */
  #sent = Number.NEGATIVE_INFINITY
  #awaited: number | undefined

  constructor(origin: number) {
    this.origin = origin
  }

  /** Something was appended to the channel. */
  note(channel: string, seq: number): void {
    this.#last.delete(channel)
    this.#last.set(channel, seq)
  }

  /** What is to be told now; undefined: nothing. `now` is monotonic, ms. */
  due(now: number): string | undefined {
    if (this.#last.size === 0 && now - this.#sent < idleMs) return undefined
    const lines = [String(this.origin)]
    for (const [channel, seq] of this.#last) {
      if (lines.length > perTelling) break
      lines.push(`${channel} ${seq}`)
      this.#last.delete(channel)
    }
    this.#sent = now
    return lines.join('\n')
  }

  /** The word is on its way. */
  sent(now: number): void {
    this.#awaited ??= now
  }

  /** A word of this worker came back, or none can come any more. */
  back(): void {
    this.#awaited = undefined
  }

  /** Whether a word should have come back long ago. */
  isSilent(now: number): boolean {
    return this.#awaited !== undefined && now - this.#awaited >= backMs
  }
}

/** Reads what a worker told. */
export function parseTails(text: string): { origin: number; tails: Position[] } {
  const [first, ...lines] = text.split('\n')
  const origin = Number(first)
  const tails = lines.map((line): Position => {
    const cut = line.lastIndexOf(' ')
    return { origin, to: line.slice(0, cut), seq: Number(line.slice(cut + 1)) }
  })
  if (!Number.isSafeInteger(origin) || tails.some(({ seq }) => !Number.isSafeInteger(seq)))
    throw new RangeError('The tails cannot be read.')
  return { origin, tails }
}
