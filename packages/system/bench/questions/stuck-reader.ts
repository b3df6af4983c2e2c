import type { Question } from '../question.ts'

const work = {
  kind: 'stuck-reader',
  members: 20,
  rate: 500,
  bytes: 4 * 1024,
  // More than both kernels and the outbox take.
  fillBytes: 16 * 1024 * 1024,
} as const

/** Do the others in a group notice one that no longer reads? */
export const stuckReader: Question = {
  name: 'stuck-reader',
  title: 'messages of 4 KiB to a group of 20, 500/s, one of which no longer reads',
  figures: [
    { name: 'p99Ms', title: 'p99 of the others', unit: 'ms' },
    { name: 'p50Ms', title: 'p50 of the others', unit: 'ms' },
  ],
  cells: [
    { label: 'all read', server: { kind: 'damon' }, work: { ...work, stuck: false } },
    { label: 'one is stuck', server: { kind: 'damon' }, work: { ...work, stuck: true } },
  ],
  bars: [{ figure: 'p99Ms', of: 'one is stuck', to: 'all read', most: 1.5 }],
}
