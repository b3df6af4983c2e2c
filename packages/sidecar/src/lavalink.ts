import type { FailureClass } from '@damon/protocol/audio'
import type { NodeRecord } from '@damon/protocol/records'
import type { PlannerStatus } from './planner-status.ts'

/** What a node carries at one moment, in the units of the record. */
export type Load = NonNullable<NodeRecord['load']>

/** What one look at a Lavalink gave. `reason` is a clause about it in words, without secrets: "refuses connections". */
export type Look =
  /** It is a Lavalink that bots can use. */
  | {
      kind: 'well'
      version: string
      api: NodeRecord['api']
      product: 'lavalink' | 'nodelink'
      plugins: readonly string[]
      load: Load
      /** Share of audio frames that were not sent in time, 0 to 1; told by NodeLink only. */
      lateFrames?: number
    }
  /** It does not take the password. Asking again soon may get this address banned. */
  | { kind: 'refused'; reason: string }
  /** Something answers, but not as a Lavalink of an API known here. */
  | { kind: 'foreign'; reason: string }
  /** No usable answer: unreachable, too slow, broken off or failing (5xx). */
  | { kind: 'silent'; reason: string }

/** How the load of a track went; `unknown` when Lavalink itself gave no usable answer. */
export type TrackLoad =
  | { kind: 'loaded' }
  | { kind: 'failed'; class: FailureClass }
  | { kind: 'unknown'; reason: string }

/** The audio server beside this sidecar. */
export interface Lavalink {
  /**
   * Looks once. MUST settle within its own time limit, MUST read a bounded number of bytes and MUST NOT send the
   * password twice once it was refused. Rejects only when `signal` aborts, with its reason.
   */
  look(signal: AbortSignal): Promise<Look>
  /** Loads a track and forgets it. The same MUSTs as `look`, of which the last must have gone well. */
  loadTrack(identifier: string, signal: AbortSignal): Promise<TrackLoad>
  /** What the route planner says of itself; `unknown` for 5xx and for what is no status. The same MUSTs. */
  planner(signal: AbortSignal): Promise<PlannerStatus>
}
