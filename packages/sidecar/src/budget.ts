import type { DrainBudget, NodeState } from '@damon/protocol/records'

/** A node as the fleet sees it. */
export interface FleetNode {
  id: string
  state: NodeState
  playing: number
  /** Its sidecar is connected. */
  live: boolean
}

export type Slot = DrainBudget['slots'][number]

/** Bounds of what a fleet may lose at once. */
export interface BudgetLimits {
  /** Of all nodes, how many may drain at once; one always may. */
  drainShare: number
  /** More than this share in trouble together, */
  brakeShare: number
  /** and at least so many: then it is not their addresses. */
  brakeNodes: number
}

/** What a node that wants to retire is told. */
export type Permission = { granted: true; slots: Slot[] } | { granted: false; why: string }

const troubled: readonly NodeState[] = ['suspect', 'exhausted']

/**
 * Whether `wish.node` may be taken out of use now, and the slots as they are then. `patient`: it still lets emptier ones go
 * first. A slot ends with its time, or when its node is gone: a holder that crashed blocks nobody for ever.
 */
export function mayRetire(
  wish: Slot,
  fleet: readonly FleetNode[],
  held: readonly Slot[],
  { now, limits, patient }: { now: number; limits: BudgetLimits; patient: boolean },
): Permission {
  const others = fleet.filter(({ id }) => id !== wish.node)
  const me = fleet.find(({ id }) => id === wish.node)
  const slots = liveSlots(held, others, now).filter(({ node }) => node !== wish.node)
  const drained = new Set(slots.map(({ node }) => node))
  const size = others.length + 1
  const inTrouble = others.filter(({ id, state }) => troubled.includes(state) || drained.has(id)).length + 1
  if (inTrouble >= limits.brakeNodes && inTrouble / size > limits.brakeShare) {
    return refuse(`${inTrouble} of ${size} nodes are in trouble together: YouTube changed, not the addresses`)
  }
  if (!others.some(({ id, state, live }) => state === 'ready' && live && !drained.has(id))) {
    return refuse('no other node is ready')
  }
  const most = Math.max(1, Math.floor(size * limits.drainShare))
  if (slots.length >= most) return refuse(`${slots.length} of at most ${most} nodes drain already`)
  const emptier = others.find(
    ({ id, state, live, playing }) =>
      state === 'exhausted' &&
      live &&
      !drained.has(id) &&
      before({ id, playing }, { id: wish.node, playing: me?.playing ?? 0 }),
  )
  if (patient && emptier) return refuse(`${emptier.id} is emptier and goes first`)
  return { granted: true, slots: [...slots, wish] }
}

/** The slots that still count. */
export function liveSlots(held: readonly Slot[], fleet: readonly Pick<FleetNode, 'id'>[], now: number): Slot[] {
  const known = new Set(fleet.map(({ id }) => id))
  return held.filter(({ node, until }) => until > now && known.has(node))
}

function before(one: { id: string; playing: number }, other: { id: string; playing: number }): boolean {
  return one.playing < other.playing || (one.playing === other.playing && one.id < other.id)
}

function refuse(why: string): Permission {
  return { granted: false, why }
}
