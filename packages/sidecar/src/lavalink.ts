import type { NodeRecord } from '@damon/protocol/records'

/** What a node carries at one moment, in the units of the record. */
export type Load = NonNullable<NodeRecord['load']>

/** What one look at a Lavalink gave. `reason` is a clause about it in words, without secrets: "refuses connections". */
export type Look =
  /** It is a Lavalink that bots can use. */
  | { kind: 'well'; version: string; load: Load }
  /** It does not take the password. Asking again soon may get this address banned. */
  | { kind: 'refused'; reason: string }
  /** Something answers, but not as a Lavalink of this API. */
  | { kind: 'foreign'; reason: string }
  /** No usable answer: unreachable, too slow, broken off or failing (5xx). */
  | { kind: 'silent'; reason: string }

/** The audio server beside this sidecar. */
export interface Lavalink {
  /**
   * Looks once. MUST settle within its own time limit, MUST read a bounded number of bytes and MUST NOT send the
   * password twice once it was refused. Rejects only when `signal` aborts, with its reason.
   */
  look(signal: AbortSignal): Promise<Look>
}
