import type { FleetNode, Permission, Slot } from '../src/budget.ts'
import type { Fleet } from '../src/fleet.ts'

/** A fleet without a hub: slots in memory. */
export class FakeFleet implements Fleet {
  slots: Slot[] = []
  /** Nodes of other sidecars. */
  others: FleetNode[] = []
  /** Set it to have the fleet unseen. */
  failure: Error | undefined
  readonly #nodes: () => FleetNode[]

  constructor(nodes: () => FleetNode[]) {
    this.#nodes = nodes
  }

  async claim(decide: (nodes: FleetNode[], held: Slot[]) => Permission): Promise<Permission> {
    if (this.failure) throw this.failure
    const permission = decide([...this.#nodes(), ...this.others], this.slots)
    if (permission.granted) this.slots = permission.slots
    return permission
  }

  async release(node: string): Promise<void> {
    this.slots = this.slots.filter((slot) => slot.node !== node)
  }
}
