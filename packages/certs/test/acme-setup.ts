import { join } from 'node:path'
import { createLogger } from '@damon/runtime/logger'
import { Secret } from '@damon/runtime/secret'
import { type AcmeProxy, startAcmeProxy } from '@damon/testkit/acme-proxy'
import { AuthoritativeDns, type AuthoritativeServer } from '@damon/testkit/authoritative-dns'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { type Pebble, type PebbleOptions, startPebble } from '@damon/testkit/pebble'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { ChallengeRecords } from '../src/challenge-records.ts'
import { type Clock, systemClock } from '../src/clock.ts'
import { DigitalOceanDns } from '../src/dns-digitalocean.ts'
import type { Order } from '../src/issuer.ts'
import { AcmeIssuer, type AcmeOptions } from '../src/issuer-acme.ts'
import { Ledger } from '../src/ledger.ts'
import { nameservers } from '../src/nameservers.ts'
import { Store } from '../src/store.ts'

export const storeKey = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
export const quiet = createLogger({ service: 'certs', level: 'silent' })
export const timing = { intervalMs: 10, deadlineMs: 1_000, rounds: 2 }

/** Long waits are over soon: the authority is polled without patience. */
export const hastyClock: Clock = {
  now: systemClock.now,
  until: (at, signal) => systemClock.until(Math.min(at, Date.now() + 15), signal),
}

/** An order for these names, with nothing in use before. */
export function orderOf(id: string, names: readonly string[], more: Partial<Order> = {}): Order {
  return { id, names, keyType: 'p256', fence: async () => {}, ...more }
}

/** A real ACME issuer on a real pebble behind the proxy, with the fake DigitalOcean and real name servers between them. */
export interface AcmeSetup extends AsyncDisposable {
  pebble: Pebble
  proxy: AcmeProxy
  api: FakeDigitalOcean
  names: AuthoritativeDns
  store: Store
  /** Path of a name in the store. */
  file(name: string): string
  dns: DigitalOceanDns
  records: ChallengeRecords
  issuer: AcmeIssuer
  /** The issuer as after a restart: another one on the same store, perhaps with other options. */
  restart(options?: Partial<AcmeOptions>): AcmeIssuer
}

export const zones = ['example.com', 'sub.example.com', 'example.net']

/** `published: false` leaves the name servers out: what the API takes is then never served. */
export async function acmeSetup(
  options: PebbleOptions & { published?: boolean; servers?: AuthoritativeServer[]; acme?: Partial<AcmeOptions> } = {},
): Promise<AcmeSetup> {
  await using started = new AsyncDisposableStack()
  const { published = true, servers, acme: more, ...pebbleOptions } = options
  const folder = started.use(await temporaryFolder())
  const names = started.use(await AuthoritativeDns.start({ zones, ...(servers && { servers }) }))
  const pebble = started.use(await startPebble({ dns: names, ...pebbleOptions }))
  const proxy = started.use(await startAcmeProxy(pebble))
  const api = started.use(await FakeDigitalOcean.start(published ? { zones, dns: names } : { zones }))
  const store = await Store.open(folder.path, storeKey)
  const clock = hastyClock
  const dns = new DigitalOceanDns({ token: new Secret(api.token), url: api.url, clock })
  const records = new ChallengeRecords({ store, dns, log: quiet })
  const acme: AcmeOptions = {
    name: 'pebble',
    directory: proxy.directoryUrl,
    ca: proxy.ca,
    store,
    dns,
    nameservers: nameservers({ resolvers: [names.address], port: names.port }),
    records,
    ledger: new Ledger({ store, issuer: 'pebble', clock, counts: true }),
    timing,
    clock,
    log: quiet,
    ...more,
  }
  const resources = started.move()
  return {
    pebble,
    proxy,
    api,
    names,
    store,
    file: (name) => join(folder.path, `${name}.sealed`),
    dns,
    records,
    issuer: new AcmeIssuer(acme),
    restart: (again = {}) => new AcmeIssuer({ ...acme, ...again }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
