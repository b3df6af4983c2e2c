import { nodeOutcomes } from '@damon/protocol/audio'
import type { Undated } from '../audio-node.ts'

/** What one report counts at most: no bot outvotes all others. */
export const reportStarts = 200

/** What a bot's report says as an observation of its node; undefined for what is none, or is about a time long past. */
export function readOutcomes(value: unknown, windowMs: number): { node: string; observation: Undated } | undefined {
  const result = nodeOutcomes.safeParse(value)
  if (!result.success) return undefined
  const { node, failed, ...report } = result.data
  if (report.windowMs > windowMs) return undefined
  const failures = Object.values(failed).reduce((sum, one) => sum + one, 0)
  const starts = Math.max(report.starts, failures)
  if (starts === 0) return undefined
  const scale = Math.min(1, reportStarts / starts)
  const scaled = Object.entries(failed).map(([name, count]) => [name, Math.round(count * scale)] as const)
  return {
    node,
    observation: { source: 'outcomes', starts: Math.round(starts * scale), failed: Object.fromEntries(scaled) },
  }
}
