import { z } from 'zod'

/** What Lavalink tells of its route planner; failing addresses with when they failed, Unix ms. */
export type PlannerStatus =
  | { kind: 'none' }
  | { kind: 'unknown' }
  | { kind: 'known'; planner: string; size: bigint; failing: ReadonlyMap<string, number> }

const status = z.object({
  class: z.string().nullable(),
  details: z
    .object({
      ipBlock: z.object({ size: z.string().regex(/^\d{1,40}$/) }),
      failingAddresses: z.array(z.object({ failingAddress: z.string().max(64), failingTimestamp: z.number() })),
    })
    .nullable(),
})

/**
 * Reads the body of `/routeplanner/status` (https://lavalink.dev/api/rest#get-routeplanner-status). Anything else, as what
 * NodeLink 3 answers, is `unknown`.
 */
export function readPlannerStatus(body: unknown): PlannerStatus {
  const result = status.safeParse(body)
  if (!result.success) return { kind: 'unknown' }
  const { class: planner, details } = result.data
  if (planner === null || details === null) return { kind: 'none' }
  const failing = details.failingAddresses.map(
    // Java prints an address without a name as "/2001:db8::1".
    ({ failingAddress, failingTimestamp }) => [failingAddress.replace(/^\//, ''), failingTimestamp] as const,
  )
  return { kind: 'known', planner, size: BigInt(details.ipBlock.size), failing: new Map(failing) }
}
