import { fileURLToPath } from 'node:url'
import type { Home } from '../home.ts'
import type { ConnectionName } from './connections.ts'
import type { ServiceSpec } from './service-process.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Variables of the system that every service gets. */
const common = /^(PATH|HOME|TZ|LANG|LC_\w+|TMPDIR|NODE_EXTRA_CA_CERTS|NODE_COMPILE_CACHE|SSL_CERT_FILE|LOG_LEVEL)$/
/** Variables of one service that are handed on; what `damon up` sets itself is not among them. */
const own = {
  hub: /^(HUB_(WORKERS|WORKER_MEMORY|ORIGINS|PEERS|PLAIN_PORT|PLAIN_SOCKET|PROXIES|RATES|DIALS_PER_SECOND|DIAL_BURST|HEARTBEAT_MS|LEASE_GRACE_MS|RESUME_MS|ROLL_MS|FRAME_BYTES|OUTBOX_BYTES|OUTBOX_FRAMES)|REDIS_(URL|PREFIX))(_FILE)?$/,
  certs: /^$/,
  sidecar:
    /^(LAVALINK_(URL|PASSWORD|CONFIG)|NODE_(ID|ADDRESS|ADDRESS_FROM|PORT|SECURE|REGION)|(POLL|DRAIN|RESUME|RETIRE|CANARY)_MS|CANARY_TRACKS|THRESHOLDS|RETIRE|PROBE)(_FILE)?$/,
} as const

/** The hub, on loopback with keys of this home. */
export function hubSpec(home: Home, env: Environment, options: { port: number; aud: string }): ServiceSpec {
  return {
    name: 'hub',
    script: script('hub'),
    env: (last) => ({
      HUB_WORKERS: '2',
      ...environment(home, env, own.hub),
      HUB_HOST: '127.0.0.1',
      // Whatever port it got at first stays its port: connection files name it.
      HUB_PORT: last?.url ? new URL(last.url).port : String(options.port),
      HUB_TLS_CERT_FILE: home.ca.hubCertificate,
      HUB_TLS_KEY_FILE: home.ca.hubKey,
      HUB_ROOT_KEY_FILE: home.keys.rootPublic,
      HUB_TRUST_FILE: home.keys.trust,
      HUB_AUDIENCE: options.aud,
      HUB_STATE_DIR: home.hubState,
      ALLOW_DEV_KEYS: '1',
    }),
  }
}

/** certs, with its local issuer. */
export function certsSpec(home: Home, env: Environment, connections: Record<ConnectionName, string>): ServiceSpec {
  return {
    name: 'certs',
    script: script('certs'),
    env: () => ({
      ...environment(home, env, own.certs),
      DAMON_CONNECTION_FILE: connections.certs,
      CERTS_CONFIG_FILE: home.certs.config,
      CERTS_STATE_DIR: home.certs.state,
      CERT_STORE_KEY_FILE: home.certs.storeKey,
      ALLOW_DEV_KEYS: '1',
    }),
  }
}

/** The sidecar of the Lavalink that LAVALINK_URL names. */
export function sidecarSpec(home: Home, env: Environment, connections: Record<ConnectionName, string>): ServiceSpec {
  return {
    name: 'sidecar',
    script: script('sidecar'),
    env: () => ({ ...environment(home, env, own.sidecar), DAMON_CONNECTION_FILE: connections.sidecar }),
  }
}

function environment(home: Home, env: Environment, names: RegExp): Record<string, string> {
  const chosen = Object.entries(env).filter(([name, value]) => value && (common.test(name) || names.test(name)))
  return { NODE_COMPILE_CACHE: home.compiled, ...(Object.fromEntries(chosen) as Record<string, string>) }
}

function script(service: string): string {
  return fileURLToPath(new URL(`../../../${service}/src/main.ts`, import.meta.url))
}
