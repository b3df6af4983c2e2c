import { type NodeRecord, type NodeState, nodeRecord, nodeSecret } from '@damon/protocol/records'
import type { Hub } from '../hub.ts'
import type { RecordChange, Watch } from '../watch.ts'

/** A node as the records have it, or had it. */
export interface KnownNode {
  id: string
  record: NodeRecord
  password: string
  /** Its sidecar is away: in its grace, or gone for good without a word. The node itself may be well. */
  unattended: boolean
  revision: number
}

/** What a state means for a bot. */
export interface Treatment {
  /** Whether to connect to a node that is not connected. */
  connect: boolean
  /** Nodes of a higher grade get players only when there are none of a lower. */
  grade: number
  /** Players move away. */
  leave: boolean
}

/** How bots treat each state. What is connected and no longer well keeps its players: only a drain moves them. */
export const treatments: Readonly<Record<NodeState, Treatment>> = {
  ready: { connect: true, grade: 0, leave: false },
  suspect: { connect: true, grade: 1, leave: false },
  // YouTube refuses it, other sources do not: better than nothing.
  exhausted: { connect: true, grade: 2, leave: false },
  starting: { connect: false, grade: 3, leave: false },
  misconfigured: { connect: false, grade: 3, leave: false },
  unreachable: { connect: false, grade: 3, leave: false },
  draining: { connect: false, grade: 4, leave: true },
  retired: { connect: false, grade: 4, leave: true },
}

/** Reasons of a drop that say nothing about the node: its sidecar died, or the hub lost its records. */
const unsaid = new Set(['expired', 'unseen'])

/** How long a node stays in use whose record went without a word, ms: longer than a hub or a VPS takes to come back. */
export const keepMs = 600_000

/** The audio nodes of the records, and for a while those whose record was lost rather than taken away. */
export class KnownNodes implements Disposable {
  readonly #nodes: Watch
  readonly #secrets: Watch
  readonly #known = new Map<string, KnownNode>()
  /** When the records of nodes were lost, monotonic ms. */
  readonly #lost = new Map<string, number>()
  readonly #now: () => number
  readonly #changed: () => void
  readonly #listening: Disposable[]

  constructor(hub: Pick<Hub, 'watch'>, now: () => number, changed: () => void) {
    this.#now = now
    this.#changed = changed
    this.#nodes = hub.watch('node/')
    this.#secrets = hub.watch('node-secret/')
    this.#listening = [
      this.#nodes,
      this.#secrets,
      this.#nodes.on('change', (change) => this.#change(change)),
      this.#secrets.on('change', ({ key }) => this.#read(key.slice('node-secret/'.length))),
    ]
  }

  /** Resolves when all records were seen; rejects when the hub refuses to show them. */
  async ready(): Promise<void> {
    await Promise.all([this.#nodes.ready(), this.#secrets.ready()])
  }

  /** Those that are known now. */
  all(): KnownNode[] {
    const now = this.#now()
    for (const [id, since] of this.#lost) if (now - since >= keepMs) this.#forget(id)
    return [...this.#known.values()]
  }

  get(id: string): KnownNode | undefined {
    return this.#known.get(id)
  }

  [Symbol.dispose](): void {
    for (const resource of this.#listening) resource[Symbol.dispose]()
  }

  #change({ type, key, reason }: RecordChange): void {
    const id = key.slice('node/'.length)
    if (type !== 'drop') this.#read(id)
    const known = this.#known.get(id)
    if (type !== 'drop' || !known) return
    if (unsaid.has(reason ?? '') && !treatments[known.record.state].leave) {
      this.#lost.set(id, this.#now())
      this.#known.set(id, { ...known, unattended: true })
    } else {
      this.#forget(id)
    }
    this.#changed()
  }

  /** Takes a node as the records have it; one without a password, or of the old protocol, is of no use yet. */
  #read(id: string): void {
    const entry = this.#nodes.entries.get(`node/${id}`)
    if (!entry) return
    const record = nodeRecord.safeParse(entry.value)
    const secret = nodeSecret.safeParse(this.#secrets.entries.get(`node-secret/${id}`)?.value)
    const password = secret.success ? secret.data.password : this.#known.get(id)?.password
    if (!record.success || record.data.api !== 'v4' || password === undefined) return
    this.#lost.delete(id)
    const unattended = entry.state === 'suspect'
    this.#known.set(id, { id, record: record.data, password, unattended, revision: entry.revision })
    this.#changed()
  }

  #forget(id: string): void {
    this.#known.delete(id)
    this.#lost.delete(id)
  }
}
