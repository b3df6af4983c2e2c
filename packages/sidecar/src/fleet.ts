import type { FleetNode, Permission, Slot } from './budget.ts'

/** All sidecars together: what they announce, and the one record in which they agree on who retires. */
export interface Fleet {
  /**
   * Lets `decide` look at the fleet and at the slots that are held, and keeps the slots it grants. MUST decide again when
   * somebody else wrote meanwhile. Rejects when the fleet cannot be seen: then nobody may retire.
   */
  claim(decide: (nodes: FleetNode[], held: Slot[]) => Permission): Promise<Permission>
  /** Gives the slot of a node back. MAY reject: it lapses by itself. */
  release(node: string): Promise<void>
}
