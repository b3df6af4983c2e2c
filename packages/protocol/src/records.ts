import * as z from 'zod/mini'

/** States of an audio node, as its sidecar sees it. */
export const nodeStates = [
  'starting',
  'ready',
  'suspect',
  'exhausted',
  'misconfigured',
  'unreachable',
  'draining',
  'retired',
] as const

/** `node/<id>`, leased, by a sidecar: what bots, fleet and console may know of an audio node. */
export const nodeRecord = z.object({
  state: z.enum(nodeStates),
  /** In words, for people; empty when all is well. */
  reasons: z.array(z.string()),
  /** When this state began, Unix ms. */
  since: z.number(),
  address: z.object({ host: z.string(), port: z.number(), secure: z.boolean() }),
  /** The same node by its other address family. */
  otherAddresses: z.optional(z.array(z.object({ host: z.string(), port: z.number(), secure: z.boolean() }))),
  /** Whether somebody else reached the address by a request; `unproved` where nobody was there to try. */
  reachability: z.optional(z.enum(['proved', 'unproved', 'failed'])),
  /** The client that looks after it, `SERVICE/INSTANCE`: outcomes are reported to it. */
  sidecar: z.optional(z.string()),
  /** Lavalink's own version, as `/version` prints it. */
  version: z.string(),
  api: z.enum(['v3', 'v4']),
  load: z.nullable(
    z.object({
      players: z.number(),
      playingPlayers: z.number(),
      /** 0 to 1. */
      systemLoad: z.number(),
      /** 0 to 1. */
      lavalinkLoad: z.number(),
      /** Bytes. */
      memoryUsed: z.number(),
      /** Bytes. */
      memoryReservable: z.number(),
      /** ms. */
      uptime: z.number(),
    }),
  ),
  region: z.optional(z.string()),
})
export type NodeRecord = z.infer<typeof nodeRecord>
export type NodeState = NodeRecord['state']

/** `fleet/drain`, kept, written by compare-and-set: who may take a node out of use now. */
export const drainBudget = z.object({
  slots: z.array(
    z.object({
      node: z.string(),
      /** The client that drains it. */
      sidecar: z.string(),
      /** When the slot lapses even if its holder says nothing more, Unix ms. */
      until: z.number(),
    }),
  ),
})
export type DrainBudget = z.infer<typeof drainBudget>

/** `node-secret/<id>`, leased, by a sidecar, read by bots only. */
export const nodeSecret = z.object({ password: z.string() })
export type NodeSecret = z.infer<typeof nodeSecret>

/** `service/<name>/<instance>/<session>`, leased, by the hub: who is connected. */
export const serviceRecord = z.object({
  /** What the client says of itself. */
  version: z.string(),
  groups: z.array(z.string()),
  /** Unix ms. */
  since: z.number(),
  /** Origin number of the worker that holds the connection. */
  worker: z.number(),
  /** Address as the hub sees it. */
  address: z.string(),
})
export type ServiceRecord = z.infer<typeof serviceRecord>

/** `cert-reader/<service>/<reader>`, leased, by a reader of certificates: two JWS by its identity key. */
export const certReader = z.object({ statement: z.string(), receipts: z.optional(z.string()) })
export type CertReader = z.infer<typeof certReader>

/** `cert/<service>/<reader>/<id>`, kept, by certs: the certificate and its key, sealed to that reader. */
export const certRecord = z.object({ jws: z.string() })
export type CertRecord = z.infer<typeof certRecord>
