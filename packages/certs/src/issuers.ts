import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { ConfigError } from '@damon/runtime/config'
import type { Logger } from '@damon/runtime/logger'
import { ChallengeRecords } from './challenge-records.ts'
import type { Clock } from './clock.ts'
import type { CertsConfig } from './config.ts'
import type { Dns } from './dns.ts'
import { DigitalOceanDns } from './dns-digitalocean.ts'
import { certsError } from './errors.ts'
import type { Issuer } from './issuer.ts'
import { AcmeIssuer } from './issuer-acme.ts'
import { LocalIssuer } from './issuer-local.ts'
import { Ledger } from './ledger.ts'
import { nameservers } from './nameservers.ts'
import { propagationTiming } from './propagation.ts'
import type { Store } from './store.ts'
import type { Wanted, WantedAcme, WantedIssuer } from './wanted.ts'

/** What issuers are made with. */
export interface IssuersOptions {
  config: CertsConfig
  store: Store
  clock: Clock
  log: Logger
}

/** The issuers of the certificates file, each made once and again only when its part of the file changes. */
export class Issuers implements AsyncDisposable {
  readonly #options: IssuersOptions
  readonly #made = new Map<string, { wish: WantedIssuer; issuer: Issuer }>()
  readonly #ending = new AbortController()
  #sweeping: Promise<void> | undefined
  #validation: { dns: Dns; records: ChallengeRecords } | undefined

  constructor(options: IssuersOptions) {
    this.#options = options
  }

  /** The issuer of a name that the file has. */
  get(name: string): Issuer {
    const made = this.#made.get(name)
    if (!made) throw certsError('bad_certificates_file', `There is no issuer ${name}.`)
    return made.issuer
  }

  /** The issuer of a name, perhaps of an earlier file. */
  find(name: string): Issuer | undefined {
    return this.#made.get(name)?.issuer
  }

  /** Makes what the file names; issuers of earlier files stay until the process ends. Resolves to those that are new or different. */
  async apply({ issuers }: Wanted): Promise<Set<string>> {
    const fresh = new Map<string, { wish: WantedIssuer; issuer: Issuer }>()
    for (const [name, wish] of Object.entries(issuers)) {
      if (isDeepStrictEqual(this.#made.get(name)?.wish, wish)) continue
      fresh.set(name, {
        wish,
        issuer: wish.type === 'local' ? await this.#local(name, wish.days) : await this.#acme(name, wish),
      })
    }
    for (const [name, made] of fresh) this.#made.set(name, made)
    return new Set(fresh.keys())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(new Error('certs is stopping'))
    await this.#sweeping
  }

  async #local(name: string, days: number): Promise<Issuer> {
    const { config, store, clock } = this.#options
    const local = await LocalIssuer.open({ name, days, store, clock })
    await writeFile(join(config.CERTS_STATE_DIR, `local-authority-${name}.pem`), local.certificate)
    return local
  }

  async #acme(name: string, wish: WantedAcme): Promise<Issuer> {
    const { config, store, clock, log } = this.#options
    const { directory, email, preferredChain, accountKeyDays, rehearsal } = wish
    const ca = wish.caFile === undefined ? undefined : await readText(wish.caFile, `issuers.${name}.caFile`)
    const externalAccount = wish.externalAccount && {
      kid: wish.externalAccount.kid,
      key: (await readText(wish.externalAccount.keyFile, `issuers.${name}.externalAccount.keyFile`)).trim(),
    }
    const servers = nameservers({ fixed: config.CERTS_NAMESERVERS ?? [] })
    const common = {
      email,
      ca,
      store,
      clock,
      log,
      timing: propagationTiming,
      nameservers: servers,
      ...this.#shared(name),
    }
    const ledger = (issuer: string, counts: boolean) => new Ledger({ store, issuer, clock, counts })
    const testName = `${name}.rehearsal`
    return new AcmeIssuer({
      ...common,
      name,
      directory,
      preferredChain,
      accountKeyDays,
      externalAccount,
      ledger: ledger(name, isLimited(wish)),
      rehearsal:
        rehearsal === undefined
          ? undefined
          : new AcmeIssuer({ ...common, name: testName, directory: rehearsal, ledger: ledger(testName, false) }),
    })
  }

  /** All issuers publish through one account and one journal. */
  #shared(issuer: string): { dns: Dns; records: ChallengeRecords } {
    if (this.#validation) return this.#validation
    const { config, store, clock, log } = this.#options
    const { DIGITALOCEAN_TOKEN: token, DIGITALOCEAN_URL: url } = config
    if (!token) {
      throw new ConfigError([
        `DIGITALOCEAN_TOKEN is required (or DIGITALOCEAN_TOKEN_FILE): issuer ${issuer} validates by DNS`,
      ])
    }
    const dns = new DigitalOceanDns({ token, url, clock })
    const records = new ChallengeRecords({ store, dns, log })
    this.#validation = { dns, records }
    // A provider that is down must not delay the start.
    this.#sweeping = records.run(clock, this.#ending.signal)
    return this.#validation
  }
}

function isLimited({ limits, directory }: WantedAcme): boolean {
  if (limits !== undefined) return limits === 'letsencrypt'
  return new URL(directory).host === 'acme-v02.api.letsencrypt.org'
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw certsError('bad_certificates_file', `${what}: ${path} cannot be read (${code}).`, { cause: error })
  }
}
