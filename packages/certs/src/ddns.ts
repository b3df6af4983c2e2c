import { createHash } from 'node:crypto'
import type { Logger } from '@damon/runtime/logger'
import { z } from 'zod'
import type { AddressRecords, AddressRules, AddressType } from './addresses.ts'
import type { Clock } from './clock.ts'
import { asCertsError } from './errors.ts'
import { publicAddress } from './public-address.ts'
import type { Store } from './store.ts'

const types: Readonly<Record<4 | 6, AddressType>> = { 4: 'A', 6: 'AAAA' }
/** How long a file without names is let alone, ms: it may have some after a reload. */
const idleMs = 10_000
/** Between two attempts to change a record, at least and at most, ms. */
const retryMs = { base: 5_000, most: 300_000 } as const

const lastChange = z.object({ name: z.string(), address: z.string(), before: z.string().optional(), at: z.number() })

/** The last change of one record, as it is kept. Times are Unix ms. */
export type AddressChange = z.output<typeof lastChange>

/** What the following of addresses works with. */
export interface DdnsOptions {
  rules: () => Readonly<Record<string, AddressRules>>
  /** Nothing where the account of a DNS provider is not configured. */
  dns: AddressRecords | undefined
  store: Store
  clock: Clock
  log: Logger
  find?: typeof publicAddress
}

/** One name in one family. */
interface Followed {
  published: string | undefined
  failures: number
  retryAt: number
}

/**
 * Keeps the address records of names equal to the address of this machine. It writes only when that changes, and once after a
 * start; an address that cannot be told changes nothing. Each change is logged and kept with what was before.
 */
export class Ddns {
  readonly #options: DdnsOptions
  readonly #followed = new Map<string, Followed>()
  #complained = false

  constructor(options: DdnsOptions) {
    this.#options = options
  }

  /** Runs until the signal is aborted; what fails is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, rules } = this.#options
    while (!signal.aborted) {
      const names = Object.entries(rules())
      await Promise.all(names.map(([name, rule]) => this.#follow(name, rule, signal)))
      const next = Math.min(idleMs, ...names.map(([, { every }]) => every * 1_000))
      await clock.until(clock.now() + next, signal).catch(() => {})
    }
  }

  /** The last change of a name, also of an earlier life. */
  async lastChange(name: string, family: 4 | 6): Promise<AddressChange | undefined> {
    const content = await this.#options.store.read(keyOf(name, types[family]))
    return content && lastChange.safeParse(JSON.parse(Buffer.from(content).toString())).data
  }

  async #follow(name: string, rules: AddressRules, signal: AbortSignal): Promise<void> {
    const { dns, log } = this.#options
    if (!dns) {
      if (!this.#complained) log.error({ name }, 'addresses need DIGITALOCEAN_TOKEN (or DIGITALOCEAN_TOKEN_FILE)')
      this.#complained = true
      return
    }
    await Promise.all([...new Set(rules.families)].map((family) => this.#keep(dns, name, rules, family, signal)))
  }

  async #keep(dns: AddressRecords, name: string, rules: AddressRules, family: 4 | 6, signal: AbortSignal) {
    const { clock, log, find = publicAddress } = this.#options
    const type = types[family]
    const one = this.#followed.get(`${name} ${type}`) ?? { published: undefined, failures: 0, retryAt: 0 }
    this.#followed.set(`${name} ${type}`, one)
    if (clock.now() < one.retryAt) return
    try {
      const address = await find(rules, family, signal)
      if (address === undefined || address === one.published) return
      // One odd answer must not move a hub: somebody else's page, another way out for a moment.
      if ((await find(rules, family, signal)) !== address) return
      const changed = await dns.setAddresses(name, type, [address], signal)
      const before = one.published ?? (await this.lastChange(name, family))?.address
      Object.assign(one, { published: address, failures: 0, retryAt: 0 })
      if (!changed) return
      await this.#record({ name, address, ...(before !== undefined && { before }), at: clock.now() }, type)
    } catch (error) {
      if (signal.aborted) return
      one.failures += 1
      one.retryAt = clock.now() + Math.min(retryMs.base * 2 ** (one.failures - 1), retryMs.most)
      const retryAt = new Date(one.retryAt)
      log.warn({ name, type, retryAt, err: asCertsError(error) }, 'the address could not be followed')
    }
  }

  async #record(change: AddressChange, type: AddressType): Promise<void> {
    const { log, store } = this.#options
    log.info({ ...change, type, at: new Date(change.at) }, 'the address has changed')
    await store.write(keyOf(change.name, type), JSON.stringify(change))
  }
}

/** Names may be longer than those of the store. */
function keyOf(name: string, type: AddressType): string {
  return `address/${type.toLowerCase()}-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`
}
