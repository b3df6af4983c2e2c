import { Secret } from '@damon/runtime/secret'
import { FakeAuthority, type Mishap } from '@damon/testkit/fake-authority'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { Attempts } from '../src/attempts.ts'
import { ChallengeRecords } from '../src/challenge-records.ts'
import { DigitalOceanDns } from '../src/dns-digitalocean.ts'
import { Fleet } from '../src/fleet.ts'
import { AcmeIssuer } from '../src/issuer-acme.ts'
import { Leases } from '../src/leases.ts'
import { Ledger } from '../src/ledger.ts'
import type { Nameservers } from '../src/nameservers.ts'
import { Shelf, type StoredCertificate } from '../src/shelf.ts'
import { Store } from '../src/store.ts'
import { Suggestions } from '../src/suggestions.ts'
import { Turnstile } from '../src/turnstile.ts'
import { readWanted } from '../src/wanted.ts'
import { quiet, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const start = Date.parse('2026-12-01T00:00:00Z')
const lives: Record<string, number> = { '': 90 * day, later: 64 * day, tlsserver: 45 * day, shortlived: 160 * hour }
const zones = ['one.test', 'two.test', 'three.test', 'four.test', 'five.test']
/** What goes wrong from a day of the year to another one, and for longer if nobody met it by then. */
const troubles = {
  ca_unavailable: [58, 60.5],
  dns_unavailable: [116.4, 117],
  not_propagated: [200, 200.5],
  challenge_failed: [250, 250.5],
} as const
/** On this day the authority announces that it has to revoke everything. */
const alarmDay = 150

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), 1 | state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

/** TXT values as servers serve them, some of them late. */
class Zone {
  readonly #values = new Map<string, string[]>()
  readonly #clock: ManualClock
  readonly #chance: () => number
  #lagsUntil = 0
  /** Whether no server has heard of any change for now. */
  stale = () => false

  constructor(clock: ManualClock, chance: () => number) {
    this.#clock = clock
    this.#chance = chance
  }

  readonly txt = (name: string): readonly string[] => this.#values.get(name) ?? []

  async addTxt(name: string, value: string): Promise<void> {
    this.#values.set(name, [...this.txt(name), value])
    if (this.#chance() < 0.2) this.#lagsUntil = this.#clock.now() + this.#chance() * 4 * minute
  }

  async removeTxt(name: string, value: string): Promise<void> {
    this.#values.set(
      name,
      this.txt(name).filter((one) => one !== value),
    )
  }

  readonly servers: Nameservers = {
    of: async () => [{ name: 'ns1', addresses: ['192.0.2.1'] }],
    txt: async (_, name) => (this.stale() || this.#clock.now() < this.#lagsUntil ? [] : this.txt(name)),
    cname: async () => undefined,
  }
}

test('a year of fifty certificates: whatever fails, each is renewed in time, within all limits, and no TXT record stays', async () => {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await temporaryFolder({ inMemory: true }))
  const clock = new ManualClock(start)
  const chance = random(20_261_201)
  const zone = new Zone(clock, chance)
  const results = new Map<string, number>()
  const met = new Set<string>()
  const isIn = (trouble: keyof typeof troubles) => {
    const [from, to] = troubles[trouble]
    return clock.now() >= start + from * day && (clock.now() < start + to * day || !met.has(trouble))
  }
  zone.stale = () => isIn('not_propagated')
  const mishap = (): Mishap => {
    if (isIn('ca_unavailable')) return { status: 503, type: 'serverInternal' }
    const dice = chance()
    if (dice < 0.01) return { status: 500, type: 'serverInternal', afterwards: chance() < 0.5 }
    if (dice < 0.02) return chance() < 0.5 ? 'cut' : 'cut afterwards'
    if (dice < 0.03) return { status: 400, type: 'badNonce' }
    return undefined
  }
  const options = { now: clock.now, life: (profile: string) => lives[profile]!, txt: zone.txt, mishap }
  const fails = () => chance() < 0.03 || isIn('challenge_failed')
  const [plain, suggesting] = [
    resources.use(await FakeAuthority.start({ ...options, fails, suggests: false })),
    resources.use(await FakeAuthority.start({ ...options, fails, suggests: true })),
  ]
  const api = resources.use(await FakeDigitalOcean.start({ zones, dns: zone, now: clock.now }))
  const store = await Store.open(folder.path, storeKey)
  const dns = new DigitalOceanDns({ token: new Secret(api.token), url: api.url, clock })
  const records = new ChallengeRecords({ store, dns, log: quiet })
  const issuerOf = (name: string, { directoryUrl }: FakeAuthority) =>
    new AcmeIssuer({
      name,
      directory: directoryUrl,
      ledger: new Ledger({ store, issuer: name, clock, counts: true }),
      store,
      dns,
      records,
      nameservers: zone.servers,
      timing: { intervalMs: 5_000, deadlineMs: 3 * minute, rounds: 2 },
      clock,
      log: quiet,
    })
  const issuers = { plain: issuerOf('plain', plain), suggesting: issuerOf('suggesting', suggesting) }

  const certificates = Object.fromEntries(
    Array.from({ length: 50 }, (_, number) => {
      const name = `n${number}.${zones[number % zones.length]}`
      const profile = number < 3 ? 'tlsserver' : number < 8 ? 'later' : number === 8 ? 'shortlived' : undefined
      const issuer = number < 4 || number === 8 ? 'suggesting' : 'plain'
      return [`c${number}`, { issuer, names: number % 7 === 0 ? [name, `*.${name}`] : [name], profile }]
    }),
  )
  const acme = { type: 'acme', directory: 'https://ca.test/dir', termsAgreed: true }
  const wanted = readWanted(JSON.stringify({ issuers: { plain: acme, suggesting: acme }, certificates }))

  const late: string[] = []
  const latest = new Map<string, StoredCertificate>()
  // One at a time, so that nobody waits for another's answer: who does not sleep is at work.
  const turnstile = new Turnstile(1)
  const questions = new Turnstile(1)
  const fleet = resources.use(
    new Fleet({
      issuer: (name) => issuers[name as keyof typeof issuers],
      shelf: new Shelf(store),
      attempts: new Attempts(store),
      suggestions: new Suggestions(store, chance),
      revocations: { of: () => undefined },
      leases: new Leases({ store, clock, log: quiet }),
      clock,
      turnstile,
      questions,
      metrics: {
        scheduled() {},
        attempt(_, result) {
          met.add(result)
          results.set(result, (results.get(result) ?? 0) + 1)
        },
        delivered() {},
        readerRefused() {},
        stages() {},
        trialFailed() {},
      },
      log: quiet,
      issued(certificate) {
        const before = latest.get(certificate.id)
        if (before && before.notAfter <= clock.now()) late.push(`${certificate.id} at ${new Date(clock.now())}`)
        latest.set(certificate.id, certificate)
      },
    }),
  )
  await fleet.apply(wanted)
  const end = start + 365 * day
  while (clock.now() < end) {
    // Everybody sleeps, or waits for somebody who does.
    while (clock.sleeping + turnstile.waiting + questions.waiting < 50) {
      // Who joins the others in front of the turnstile does so without a sound.
      await Promise.race([clock.nextSleep, new Promise((resolve) => setTimeout(resolve, 2))])
    }
    const day150 = start + alarmDay * day
    suggesting.hurries = clock.now() >= day150 && clock.now() < day150 + 2 * day
    if (isIn('dns_unavailable')) api.refusals.splice(0, Infinity, { status: 500, times: 1_000 })
    else
      api.refusals.splice(
        0,
        Infinity,
        ...(chance() < 0.02 ? [{ status: 500, times: 2, afterwards: chance() < 0.5 }] : []),
      )
    clock.setToNext()
  }
  await fleet[Symbol.asyncDispose]()
  api.refusals.length = 0
  await records.sweep()

  expect(late).toEqual([])
  expect(latest.size).toBe(50)
  for (const { id, notAfter } of latest.values()) expect(notAfter, id).toBeGreaterThan(end)
  expect([...plain.excesses, ...suggesting.excesses]).toEqual([])
  for (const one of zones) expect(api.records(one)).toEqual([])
  expect(await store.list('order/plain')).toEqual([])
  expect(await store.list('order/suggesting')).toEqual([])
  // Otherwise nothing was proven.
  expect(results.get('issued')).toBe(plain.issued + suggesting.issued)
  expect(results.get('issued')).toBeGreaterThan(300)
  // The window of a certificate that lives for 160 hours is three hours wide: its order is made in it, by the clock.
  expect(suggesting.exempt).toBeGreaterThan(100)
  for (const code of ['ca_unavailable', 'challenge_failed', 'not_propagated', 'dns_unavailable']) {
    expect(results.get(code), code).toBeGreaterThan(0)
  }
}, 240_000)
