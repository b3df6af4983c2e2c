import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { damonError } from '@damon/protocol/errors'
import { ConfigError } from '@damon/runtime/config'
import type { Checks } from '@damon/runtime/health'
import type { Logger } from '@damon/runtime/logger'
import type { Credential } from '@damon/trust/credential'
import { verifyTrustList } from '@damon/trust/trust-list'
import { Attempts } from './attempts.ts'
import { ChallengeRecords } from './challenge-records.ts'
import type { Clock } from './clock.ts'
import type { CertsConfig } from './config.ts'
import { Delivery } from './delivery.ts'
import { DigitalOceanDns } from './dns-digitalocean.ts'
import type { Issuer } from './issuer.ts'
import { AcmeIssuer } from './issuer-acme.ts'
import { LocalIssuer } from './issuer-local.ts'
import { type ListedCertificate, listCertificates } from './listing.ts'
import type { Metrics } from './metrics.ts'
import { nameservers } from './nameservers.ts'
import { propagationTiming } from './propagation.ts'
import { ReaderRegistry } from './reader-registry.ts'
import type { Records } from './records.ts'
import { Renewal } from './renewal.ts'
import { Rollout } from './rollout.ts'
import { Shelf } from './shelf.ts'
import { Store } from './store.ts'
import { Turnstile } from './turnstile.ts'
import { readWanted, type Wanted } from './wanted.ts'

/** Orders under way at a time. */
const parallelOrders = 4

/** What certs works with: the hub as seen through its port, and its own life. */
export interface CertsParts {
  credential: Credential
  records: Records
  clock: Clock
  metrics: Metrics
  checks: Checks
  log: Logger
}

/** The running service; disposing it gives up what is under way and takes published TXT records back. */
export interface Certs extends AsyncDisposable {
  list(): ListedCertificate[]
}

/** Starts to keep the wanted certificates alive and to deliver them. Rejects when configuration, credential or store do not fit. */
export async function startCerts(config: CertsConfig, parts: CertsParts): Promise<Certs> {
  const { credential, records, clock, metrics, checks, log } = parts
  const wanted = readWanted(config.CERTS_CONFIG)
  const { identity, token, aud } = credential
  if (!identity) throw damonError('bad_credential', 'identity: certs signs with the key that its token is bound to.')
  const trust = await verifyTrustList(credential.trust, credential.root, { aud })
  const store = await Store.open(join(config.CERTS_STATE_DIR, 'store'), config.CERT_STORE_KEY.reveal())
  const issuers = await createIssuers(config, wanted, store, parts)
  const shelf = new Shelf(store)
  const registry = new ReaderRegistry({ trust, aud, clock, metrics, log })
  const rollouts = new Map<string, Rollout>()
  for (const [id, { delivery: rules }] of Object.entries(wanted.certificates)) {
    if (rules.canary) rollouts.set(id, await Rollout.load(id, { rules, store, clock, metrics, log }))
  }
  const rules = (id: string) => wanted.certificates[id]!.delivery
  const sealing = { identity, token, aud }
  const delivery = new Delivery({ records, registry, shelf, rules, rollouts, ...sealing, clock, metrics, log })
  const attempts = new Attempts(store)
  const turnstile = new Turnstile(parallelOrders)
  const options = { shelf, attempts, clock, turnstile, metrics, log, issued: () => delivery.refresh() }
  const renewals: Renewal[] = []
  for (const [id, certificate] of Object.entries(wanted.certificates)) {
    renewals.push(await Renewal.load({ ...certificate, id }, issuers.get(certificate.issuer)!, options))
  }
  const ending = new AbortController()
  const delivering = delivery.run(ending.signal).catch((error) => {
    log.error({ err: error }, 'nothing can be delivered')
    checks.set('delivery', () => (error as Error).message)
  })
  const running = Promise.all([delivering, ...renewals.map((renewal) => renewal.run(ending.signal))])
  return {
    list: () => listCertificates(renewals, delivery, clock.now()),
    async [Symbol.asyncDispose]() {
      ending.abort(new Error('certs is stopping'))
      await running
    },
  }
}

async function createIssuers(
  config: CertsConfig,
  wanted: Wanted,
  store: Store,
  { clock, log }: CertsParts,
): Promise<Map<string, Issuer>> {
  const issuers = new Map<string, Issuer>()
  const acme = Object.entries(wanted.issuers).flatMap(([name, issuer]) =>
    issuer.type === 'acme' ? [{ name, ...issuer }] : [],
  )
  for (const [name, issuer] of Object.entries(wanted.issuers)) {
    if (issuer.type !== 'local') continue
    const local = await LocalIssuer.open({ name, days: issuer.days, store, clock })
    issuers.set(name, local)
    await writeFile(join(config.CERTS_STATE_DIR, `local-authority-${name}.pem`), local.certificate)
  }
  if (acme.length === 0) return issuers
  const { DIGITALOCEAN_TOKEN, DIGITALOCEAN_URL, CERTS_NAMESERVERS } = config
  if (!DIGITALOCEAN_TOKEN) {
    throw new ConfigError([
      `DIGITALOCEAN_TOKEN is required (or DIGITALOCEAN_TOKEN_FILE): issuer ${acme[0]?.name} validates by DNS`,
    ])
  }
  const dns = new DigitalOceanDns({ token: DIGITALOCEAN_TOKEN, url: DIGITALOCEAN_URL, clock })
  const records = new ChallengeRecords({ store, dns, log })
  // What a crash left behind does not wait for the next order; a provider that is down must not delay the start.
  void records.sweep().catch((error) => log.warn({ err: error }, 'the sweep of TXT records failed'))
  for (const { name, directory, email, caFile } of acme) {
    const ca = caFile === undefined ? undefined : await readFile(caFile, 'utf8')
    const servers = nameservers(CERTS_NAMESERVERS)
    const timing = propagationTiming
    issuers.set(
      name,
      new AcmeIssuer({ name, directory, email, ca, store, dns, nameservers: servers, records, timing, clock, log }),
    )
  }
  return issuers
}
