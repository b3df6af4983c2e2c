import type { Bar, Question } from './question.ts'
import type { Round } from './run.ts'

/** Of several rounds. */
export interface Spread {
  median: number
  min: number
  max: number
}

/** What a question's rounds come to. */
export interface Summary {
  figures: { name: string; title: string; unit: string; lines: { label: string; spread: Spread; ratio?: Spread }[] }[]
  bars: (Bar & { is: Spread; met: boolean })[]
}

/** The middle one of these numbers, or the mean of the two in the middle. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}

/** The smallest of these numbers that at least this share of them does not exceed; `share` from 0 to 1. */
export function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** Medians, and ratios to the question's first line: each within its round, so that a slow round is slow for both. */
export function summarise(question: Question, rounds: readonly Round[]): Summary {
  // Not every line is measured in every round.
  const values = (label: string, figure: string) =>
    rounds.flatMap((round) => (round[label] ? [round[label][figure] ?? Number.NaN] : []))
  const ratios = (figure: string, of: string, to: string) => {
    const both = rounds.filter((round) => round[of] && round[to])
    return spreadOf(both.map((round) => (round[of]?.[figure] ?? Number.NaN) / (round[to]?.[figure] ?? Number.NaN)))
  }
  const [first] = question.cells
  return {
    figures: question.figures.map((figure) => ({
      ...figure,
      lines: question.cells.map(({ label }) => ({
        label,
        spread: spreadOf(values(label, figure.name)),
        ...(first && first.label !== label && { ratio: ratios(figure.name, first.label, label) }),
      })),
    })),
    bars: question.bars.map((bar) => {
      const is = bar.to === undefined ? spreadOf(values(bar.of, bar.figure)) : ratios(bar.figure, bar.of, bar.to)
      return { ...bar, is, met: is.median <= bar.most }
    }),
  }
}

function spreadOf(numbers: readonly number[]): Spread {
  return { median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers) }
}
