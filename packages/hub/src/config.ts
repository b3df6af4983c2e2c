import { availableParallelism } from 'node:os'
import { limits } from '@damon/protocol/limits'
import { isSegment } from '@damon/protocol/names'
import { type Config, flag, integer, list, milliseconds, port, secret } from '@damon/runtime/config'
import { publicJwk } from '@damon/trust/keys'
import { z } from 'zod'
import { Proxies } from './proxies.ts'
import { parseRates } from './rates.ts'
import type { StoreTimes } from './store.ts'

/** The hub's environment, beside what every service reads. Each may be given as a file: `NAME_FILE`. */
export const hubConfig = {
  /** Every address where it is not set. */
  HUB_HOST: z.string().optional(),
  HUB_PORT: port().default(8443),
  /** WebSocket without TLS, on 127.0.0.1 only: for a TLS terminator on this machine, and for measuring. 0 = any. */
  HUB_PLAIN_PORT: port().optional(),
  /** The same on a Unix socket. */
  HUB_PLAIN_SOCKET: z.string().max(100, 'must have at most 100 characters').optional(),
  /** Whose connections begin with a PROXY header: addresses, ranges as `10.0.0.0/8`, and `unix` for the Unix socket. */
  HUB_PROXIES: list()
    .default([])
    .superRefine((names, context) => {
      try {
        new Proxies(names)
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message })
      }
    }),
  /** Processes that share the port. */
  HUB_WORKERS: integer(1, 256).default(Math.max(2, availableParallelism())),
  HUB_TLS_CERT: z.string(),
  HUB_TLS_KEY: secret(),
  /** The hub's own connection, with which it receives its certificate from certs; the token needs `cert:HUB_CERTIFICATE`. */
  HUB_CONNECTION: secret().optional(),
  /** The id of its certificate. */
  HUB_CERTIFICATE: z.string().refine(isSegment, 'must be the id of a certificate').default('hub'),
  /** Names of the hub beside those of its certificate. */
  HUB_NAMES: list().default([]),
  /** Pages that browsers may connect from, as `https://console.example`. */
  HUB_ORIGINS: list().default([]),
  /** The pinned root: an Ed25519 public key as a JWK. */
  HUB_ROOT_KEY: z.string().transform((text, context) => {
    try {
      return publicJwk.parse(JSON.parse(text))
    } catch {
      context.addIssue({ code: 'custom', message: 'is no Ed25519 public key as a JWK' })
      return z.NEVER
    }
  }),
  /** The trust list, signed by the root. */
  HUB_TRUST: z.string(),
  HUB_AUDIENCE: z.string().default('damon:dev'),
  /** Whether a trust list for development is good enough. */
  ALLOW_DEV_KEYS: flag().default(false),
  HUB_HEARTBEAT_MS: milliseconds(100, 300_000).default(limits.heartbeatMs),
  /** How long a leased record outlives its owner's connection. */
  HUB_LEASE_GRACE_MS: milliseconds(100, 600_000).default(15_000),
  /** How long a session whose line is gone can be taken up again. */
  HUB_RESUME_MS: milliseconds(1_000, 600_000).default(60_000),
  /** How long the clients of one worker may take to move when it is replaced, at most. */
  HUB_ROLL_MS: milliseconds(0, 3_600_000).default(60_000),
  /** Other hubs on the same Redis, as clients dial them: where clients are sent when this one stops. */
  HUB_PEERS: list().default([]),
  HUB_FRAME_BYTES: integer(8 * 1024, 16 * 1024 * 1024, ' (bytes)').default(limits.frameBytes),
  HUB_OUTBOX_BYTES: integer(64 * 1024, 256 * 1024 * 1024, ' (bytes)').default(limits.outboxBytes),
  HUB_OUTBOX_FRAMES: integer(16, 1_048_576).default(limits.outboxFrames),
  /** Connections that one address may make, and how many at once. */
  HUB_DIALS_PER_SECOND: integer(1, 1_000_000).default(limits.dialsPerSecond),
  HUB_DIAL_BURST: integer(1, 1_000_000).default(limits.dialBurst),
  /** What each worker may use of the memory; where it is not set, an equal share of most of what there is. */
  HUB_WORKER_MEMORY: integer(16 * 1024 * 1024, 2 ** 42, ' (bytes)').optional(),
  /** Rate classes by the name that tokens give, as JSON: `{"service":{"framesPerSecond":50000,"bytesPerSecond":67108864}}`. */
  HUB_RATES: z
    .string()
    .default('{}')
    .transform((text, context) => {
      try {
        return parseRates(text)
      } catch {
        const message = 'must be a JSON object of rate classes, each with framesPerSecond and bytesPerSecond'
        context.addIssue({ code: 'custom', message })
        return z.NEVER
      }
    }),
  /** Where kept records live without Redis. */
  HUB_STATE_DIR: z.string().optional(),
  REDIS_URL: secret().optional(),
  REDIS_PREFIX: z.string().default('damon:'),
}

/** What the store must know of how long things last. */
export function storeTimes(config: Config<typeof hubConfig>): StoreTimes {
  return { graceMs: config.HUB_LEASE_GRACE_MS, awayMs: limits.awayMs, resumeMs: config.HUB_RESUME_MS }
}
