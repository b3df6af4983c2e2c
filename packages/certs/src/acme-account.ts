import type { Logger } from '@damon/runtime/logger'
import * as acme from 'acme-client'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import { asCertsError, CertsError, certsError } from './errors.ts'
import type { Ledger } from './ledger.ts'
import { patiently } from './patience.ts'
import type { Store } from './store.ts'

const day = 86_400_000
const schema = z.object({
  key: z.string(),
  /** Unix ms since which the key is the account's. */
  since: z.number().default(0),
  /** A key that is, or was, about to become the account's. */
  nextKey: z.string().optional(),
})
type Stored = z.output<typeof schema>

/** What an account is opened with. */
export interface AccountOptions {
  /** Of the issuer. */
  name: string
  directory: string
  email?: string | undefined
  /** The account at the authority that this one belongs to; the key is base64url. */
  externalAccount?: { kid: string; key: string } | undefined
  /** After so many days the account gets a new key. */
  keyDays?: number | undefined
  ledger: Pick<Ledger, 'reserveAccount'>
  store: Store
  clock: Clock
  log: Logger
}

/** The account at an ACME authority, under a key that signs nothing else. */
export class AcmeAccount {
  readonly #options: AccountOptions
  #opened: Promise<acme.Client> | undefined

  constructor(options: AccountOptions) {
    this.#options = options
  }

  /** The client of the registered account; its key is stored before the authority hears of it. */
  async client(signal: AbortSignal): Promise<acme.Client> {
    const opening = this.#opened ?? this.#open(signal)
    this.#opened = opening
    try {
      return await opening
    } catch (error) {
      if (this.#opened === opening) this.#opened = undefined
      throw error
    }
  }

  /** The account may be what is wrong: the next attempt registers its key again, which is harmless. */
  close(): void {
    this.#opened = undefined
  }

  async #open(signal: AbortSignal): Promise<acme.Client> {
    const { clock, keyDays } = this.#options
    const stored = await this.#settled(signal)
    const client = this.#clientOf(stored.key)
    await this.#register(client, signal)
    if (keyDays !== undefined && clock.now() - stored.since > keyDays * day) await this.#rollOver(client, stored)
    return client
  }

  /** The stored key; after a crash in the middle of a rollover the one that the authority has. */
  async #settled(signal: AbortSignal): Promise<Stored> {
    const { name, ledger, store, clock, log } = this.#options
    const content = await store.read(`account/${name}`)
    const stored = content && schema.parse(JSON.parse(Buffer.from(content).toString()))
    if (!stored) {
      await ledger.reserveAccount()
      return this.#save({ key: await newKey(), since: clock.now() })
    }
    if (stored.nextKey === undefined) return stored
    const isNew = await this.#isKnown(stored.nextKey, signal)
    log.warn({ issuer: name, isNew }, 'a rollover of the account key was interrupted')
    return this.#save(isNew ? { key: stored.nextKey, since: clock.now() } : { key: stored.key, since: stored.since })
  }

  async #isKnown(key: string, signal: AbortSignal): Promise<boolean> {
    try {
      const client = this.#clientOf(key)
      await patiently(this.#options.clock, signal, () => client.createAccount({ onlyReturnExisting: true }))
      return true
    } catch (error) {
      if (error instanceof CertsError && error.kind === 'accountDoesNotExist') return false
      throw error
    }
  }

  async #register(client: acme.Client, signal: AbortSignal): Promise<void> {
    const { email, clock } = this.#options
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] }
    try {
      await patiently(clock, signal, () => client.createAccount({ termsOfServiceAgreed: true, ...contact }))
    } catch (error) {
      // An account that is there already the library updates, which an authority may refuse when nothing changes.
      if (isRegistered(client)) return
      if (!(error instanceof CertsError) || error.code !== 'ca_refused') throw error
      throw certsError('ca_account', error.message, { cause: error, kind: error.kind })
    }
  }

  async #rollOver(client: acme.Client, stored: Stored): Promise<void> {
    const { name, clock, log } = this.#options
    const nextKey = await newKey()
    await this.#save({ ...stored, nextKey })
    try {
      await client.updateAccountKey(nextKey)
    } catch (error) {
      // The old key still signs; which of the two is the account's is found out before the next time.
      log.warn({ issuer: name, err: asCertsError(error) }, 'the account key could not be rolled over')
      this.close()
      throw error
    }
    await this.#save({ key: nextKey, since: clock.now() })
    log.info({ issuer: name }, 'the account has a new key')
  }

  async #save(stored: Stored): Promise<Stored> {
    await this.#options.store.write(`account/${this.#options.name}`, JSON.stringify(stored))
    return stored
  }

  #clientOf(accountKey: string): acme.Client {
    const { directory, externalAccount: external } = this.#options
    return new acme.Client({
      directoryUrl: directory,
      accountKey,
      ...(external && { externalAccountBinding: { kid: external.kid, hmacKey: external.key } }),
    })
  }
}

async function newKey(): Promise<string> {
  return (await acme.crypto.createPrivateEcdsaKey('P-256')).toString()
}

function isRegistered(client: acme.Client): boolean {
  try {
    return client.getAccountUrl() !== ''
  } catch {
    return false
  }
}
