import type { Logger } from '@damon/runtime/logger'
import type { AudioNode } from './audio-node.ts'
import { type BudgetLimits, mayRetire, type Slot } from './budget.ts'
import type { Clock } from './clock.ts'
import { type Bots, type DrainOptions, drain } from './drain.ts'
import type { Fleet } from './fleet.ts'

/** With what a spent node is retired, all times in ms. */
export interface RetirementOptions {
  fleet: Fleet
  bots: Bots
  /** Who asks: this client, `SERVICE/INSTANCE`. */
  sidecar: string
  limits: BudgetLimits & { fleetPatienceMs: number }
  /** Between two attempts to be allowed to. */
  retryMs: number
  drain: Omit<DrainOptions, 'because' | 'reason'>
  /** Stops the container, where that was asked for. */
  stop?: (() => Promise<void>) | undefined
  clock: Clock
  log: Logger
}

/** What a slot lasts longer than the drain that it is for, ms. */
export const slotReserveMs = 60_000

/**
 * Waits until the node is exhausted and the fleet can spare it, drains it, drops its record with the reason `exhausted`, and
 * stops its container if that was asked for. Resolves when it is retired; rejects with the reason of `signal`, before the
 * drain only.
 */
export async function retireWhenSpent(node: AudioNode, options: RetirementOptions, signal: AbortSignal): Promise<void> {
  const { fleet, log, clock } = options
  const { id } = options.drain
  for (let refusal: string | undefined; ; ) {
    await node.until(({ health }) => health.state === 'exhausted' || health.state === 'retired', signal)
    if (node.health.state === 'retired') return
    const why = await claim(node, options)
    signal.throwIfAborted()
    // While the fleet was asked, a track may have loaded.
    if (why === undefined && node.health.state === 'exhausted') break
    if (why === undefined) await fleet.release(id).catch(() => {})
    else if (why !== refusal) log.warn({ why }, 'the node is exhausted, but it must not retire now')
    refusal = why
    await clock.sleep(options.retryMs, signal)
  }
  const because = `exhausted: ${node.health.reasons.join(', ')}`
  await drain(node, options.bots, { ...options.drain, because, reason: 'exhausted' })
  await options.stop?.().catch((error: unknown) => log.error({ err: error }, 'its container could not be stopped'))
  await fleet.release(id).catch((error: unknown) => log.info({ err: error }, 'the slot of the drain lapses by itself'))
}

/** Takes the slot of a drain that somebody ordered, whatever the fleet can spare, so that others wait. Never rejects. */
export async function occupySlot(fleet: Fleet, wish: Slot, log: Logger): Promise<void> {
  try {
    await fleet.claim((_nodes, held) => ({
      granted: true,
      slots: [...held.filter(({ node }) => node !== wish.node), wish],
    }))
  } catch (error) {
    log.debug({ err: error }, 'the fleet could not be told of the drain')
  }
}

/** Why not; undefined when it was granted. */
async function claim(node: AudioNode, options: RetirementOptions): Promise<string | undefined> {
  const { fleet, sidecar, limits, clock, drain: how } = options
  const patient = clock.now() - node.health.since < limits.fleetPatienceMs
  try {
    const permission = await fleet.claim((nodes, held) => {
      const now = clock.unix()
      const wish: Slot = { node: how.id, sidecar, until: now + how.deadlineMs + slotReserveMs }
      return mayRetire(wish, nodes, held, { now, limits, patient })
    })
    return permission.granted ? undefined : permission.why
  } catch (error) {
    return error instanceof Error ? error.message : 'the fleet cannot be asked'
  }
}
