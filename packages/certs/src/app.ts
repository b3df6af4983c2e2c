import { join } from 'node:path'
import { damonError } from '@damon/protocol/errors'
import type { Checks } from '@damon/runtime/health'
import type { Logger } from '@damon/runtime/logger'
import type { Credential } from '@damon/trust/credential'
import { verifyTrustList } from '@damon/trust/trust-list'
import { Attempts } from './attempts.ts'
import type { Clock } from './clock.ts'
import type { CertsConfig } from './config.ts'
import { Ddns } from './ddns.ts'
import { Delivery } from './delivery.ts'
import { deliveryRules } from './delivery-rules.ts'
import { DigitalOceanDns } from './dns-digitalocean.ts'
import { Fleet } from './fleet.ts'
import type { RevocationReason } from './issuer.ts'
import { Issuers } from './issuers.ts'
import { Leases } from './leases.ts'
import { type ListedCertificate, listCertificates } from './listing.ts'
import type { Metrics } from './metrics.ts'
import { type Plan, planOf, type Reasons, reasonsOf } from './plan.ts'
import { ReaderRegistry } from './reader-registry.ts'
import type { Records } from './records.ts'
import type { Renewal } from './renewal.ts'
import { Revocations } from './revocations.ts'
import { Rollouts } from './rollout.ts'
import { Shelf } from './shelf.ts'
import { Store } from './store.ts'
import { Suggestions } from './suggestions.ts'
import { Turnstile } from './turnstile.ts'
import { WantedFile } from './wanted-file.ts'

/** Of a certificate that is not in the file any more. */
const noRules = deliveryRules.parse(undefined)

/** Orders under way at a time. */
const parallelOrders = 4
/** Questions under way at a time: after a start there is one for each certificate. */
const parallelQuestions = 2

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
  /** What would happen to each certificate, and what is wrong with a file that was not taken over. */
  plan(): Promise<{ certificates: Plan[]; problem?: string }>
  /** Throws `not_found`. */
  why(id: string): Reasons
  /** Has the current certificate revoked and replaced by one with a new key; resolves once that is durable. Throws `not_found`. */
  revoke(id: string, reason: RevocationReason): Promise<{ id: string; fingerprint: string }>
  /** Reads the certificates file again; what is wrong with it is logged. */
  reload(): Promise<void>
}

/** Starts to keep the wanted certificates alive and to deliver them. Rejects when configuration, credential or store do not fit. */
export async function startCerts(config: CertsConfig, parts: CertsParts): Promise<Certs> {
  const { credential, records, clock, metrics, checks, log } = parts
  const { identity, token, aud } = credential
  if (!identity) throw damonError('bad_credential', 'identity: certs signs with the key that its token is bound to.')
  const trust = await verifyTrustList(credential.trust, credential.root, { aud })
  await using started = new AsyncDisposableStack()
  const file = await WantedFile.open(config.CERTS_CONFIG_FILE, async (wanted) => {
    await fleet.apply(wanted, await issuers.apply(wanted))
  })
  const store = await Store.open(join(config.CERTS_STATE_DIR, 'store'), config.CERT_STORE_KEY.reveal())
  const issuers = started.use(new Issuers({ config, store, clock, log }))
  await issuers.apply(file.current)
  const shelf = new Shelf(store)
  const registry = new ReaderRegistry({ trust, aud, clock, metrics, log })
  const rules = (id: string) => file.current.certificates[id]?.delivery ?? noRules
  const rollouts = new Rollouts({ rules, store, clock, metrics, log })
  const sealing = { identity, token, aud }
  const delivery = new Delivery({ records, registry, shelf, rules, rollouts, ...sealing, clock, metrics, log })
  const suggestions = new Suggestions(store)
  const revocations = await Revocations.load({ store, clock, log, issuer: (name) => issuers.find(name) })
  const fleet = started.use(
    new Fleet({
      issuer: (name) => issuers.get(name),
      shelf,
      attempts: new Attempts(store),
      suggestions,
      revocations,
      leases: new Leases({ store, clock, log }),
      clock,
      turnstile: new Turnstile(parallelOrders),
      questions: new Turnstile(parallelQuestions),
      metrics,
      log,
      issued: () => delivery.refresh(),
    }),
  )
  await fleet.apply(file.current)
  const ending = new AbortController()
  const delivering = delivery.run(ending.signal).catch((error) => {
    log.error({ err: error }, 'nothing can be delivered')
    checks.set('delivery', () => (error as Error).message)
  })
  const revoking = revocations.run(ending.signal)
  const { DIGITALOCEAN_TOKEN: dnsToken, DIGITALOCEAN_URL: url } = config
  const dns = dnsToken && new DigitalOceanDns({ token: dnsToken, url, clock })
  const following = new Ddns({ rules: () => file.current.addresses, dns, store, clock, log }).run(ending.signal)
  started.defer(async () => {
    ending.abort(new Error('certs is stopping'))
    await Promise.all([delivering, revoking, following])
  })
  const told = (outcome: 'changed' | Error) => {
    if (outcome === 'changed') {
      log.info('the certificates file has changed')
      // Its rules of delivery may be others now, as well for what was issued before.
      delivery.refresh()
    } else log.error({ err: outcome }, 'the certificates file was not taken over: the one before still counts')
  }
  started.use(file.watch(told))
  const find = (id: string): Renewal => {
    const renewal = fleet.of(id)
    if (!renewal)
      throw damonError('not_found', `There is no certificate ${JSON.stringify(id)} in the certificates file.`)
    return renewal
  }
  const resources = started.move()
  return {
    list: () => listCertificates(fleet.renewals, delivery, clock.now()),
    async plan() {
      const parts = { suggestions, revocations, issuer: (name: string) => issuers.get(name), now: clock.now() }
      const certificates = await Promise.all(fleet.renewals.map((renewal) => planOf(renewal, parts)))
      return { certificates, ...(file.problem !== undefined && { problem: file.problem }) }
    },
    why: (id) => reasonsOf(find(id), { revocations, now: clock.now() }),
    async revoke(id, reason) {
      const renewal = find(id)
      const { current } = renewal
      if (!current) throw damonError('not_found', `${id} has no certificate yet.`)
      await revocations.add(current, reason)
      await rollouts.compromised(current)
      renewal.refresh()
      return { id, fingerprint: current.fingerprint }
    },
    reload: () => file.reload().then((outcome) => outcome === 'changed' && told(outcome), told) as Promise<void>,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
