import type { NodeProbe } from '@damon/protocol/audio'

/** Somebody who tries to reach the node from where the bots are. */
export interface Outside {
  /** One attempt by whoever is chosen; undefined when nobody is there who tries. Rejects only when `signal` aborts. */
  probe(target: NodeProbe, signal: AbortSignal): Promise<{ by: string; reached: boolean; reason?: string } | undefined>
  /** The address from which the hub sees this machine now; undefined when it does not tell. */
  seen(signal: AbortSignal): Promise<string | undefined>
}
