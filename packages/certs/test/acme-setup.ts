import { createLogger } from '@damon/runtime/logger'
import { Secret } from '@damon/runtime/secret'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { type Pebble, startPebble } from '@damon/testkit/pebble'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { ChallengeRecords } from '../src/challenge-records.ts'
import { systemClock } from '../src/clock.ts'
import { DigitalOceanDns } from '../src/dns-digitalocean.ts'
import { AcmeIssuer } from '../src/issuer-acme.ts'
import { nameservers } from '../src/nameservers.ts'
import { Store } from '../src/store.ts'

export const storeKey = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
export const quiet = createLogger({ service: 'certs', level: 'silent' })
export const timing = { intervalMs: 20, deadlineMs: 1_000, rounds: 2 }

/** A real ACME issuer on a real pebble, with the fake DigitalOcean between them. */
export interface AcmeSetup extends AsyncDisposable {
  pebble: Pebble
  api: FakeDigitalOcean
  store: Store
  dns: DigitalOceanDns
  records: ChallengeRecords
  issuer: AcmeIssuer
  /** The issuer as after a restart: another one on the same store. */
  restart(): AcmeIssuer
}

/** `published: false` leaves the DNS server out: what the API takes is then never served. */
export async function acmeSetup(options: { published?: boolean; blocked?: string[] } = {}): Promise<AcmeSetup> {
  await using started = new AsyncDisposableStack()
  const folder = started.use(await temporaryFolder())
  const pebble = started.use(await startPebble({ blocked: options.blocked ?? [] }))
  const zones = ['example.com', 'sub.example.com']
  const api = started.use(
    await FakeDigitalOcean.start(options.published === false ? { zones } : { zones, dns: pebble.dns }),
  )
  const store = await Store.open(folder.path, storeKey)
  const dns = new DigitalOceanDns({ token: new Secret(api.token), url: api.url, clock: systemClock })
  const records = new ChallengeRecords({ store, dns, log: quiet })
  const acme = {
    name: 'pebble',
    directory: pebble.directoryUrl,
    ca: pebble.ca,
    store,
    dns,
    nameservers: nameservers([pebble.dns.address]),
    records,
    timing,
    clock: systemClock,
    log: quiet,
  }
  const resources = started.move()
  return {
    pebble,
    api,
    store,
    dns,
    records,
    issuer: new AcmeIssuer(acme),
    restart: () => new AcmeIssuer(acme),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
