import { checkPair } from '@damon/trust/certificate-node'
import type { CertificatePair } from '@damon/trust/envelope'
import { z } from 'zod'
import { certsError } from './errors.ts'
import type { Store } from './store.ts'
import { type KeyType, keyTypes } from './wanted.ts'

/** The one in use and the one before it. */
const versionsKept = 2

const storedSchema = z.object({
  key: z.string(),
  chain: z.string(),
  issuer: z.string(),
  names: z.array(z.string()),
  keyType: z.enum(keyTypes).default(keyTypes[0]),
  profile: z.string().optional(),
  /** What was read out of the leaf when it was checked: sealed with it, so it need not be read again. */
  leaf: z.object({ fingerprint: z.string(), notBefore: z.number(), notAfter: z.number() }).optional(),
})

/** A certificate with its key as it lies in the store. */
export interface StoredCertificate extends CertificatePair {
  id: string
  issuer: string
  names: readonly string[]
  keyType: KeyType
  profile?: string | undefined
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
  /** Unix ms. */
  notBefore: number
  /** Unix ms. */
  notAfter: number
}

/** What was asked for when a certificate was issued. */
export interface About {
  issuer: string
  names: readonly string[]
  keyType?: KeyType
  profile?: string | undefined
}

/** The issued certificates: each in the store in a version of its own, so that the last good one is never overwritten. */
export class Shelf {
  readonly #store: Store
  readonly #current = new Map<string, StoredCertificate>()

  constructor(store: Store) {
    this.#store = store
  }

  /** The newest certificate of an id; it may have expired meanwhile. */
  current(id: string): StoredCertificate | undefined {
    return this.#current.get(id)
  }

  /** Reads the newest version that is still valid; older ones and their faults do not matter. Throws `store_damaged`. */
  async load(id: string, now: number): Promise<StoredCertificate | undefined> {
    const versions = await this.#store.list(`certificate/${id}`)
    for (const version of versions.reverse()) {
      const content = await this.#store.read(`certificate/${id}/${version}`)
      const stored = content && storedSchema.safeParse(JSON.parse(Buffer.from(content).toString())).data
      const described = stored && describe(id, stored, now)
      if (!described) continue
      this.#current.set(id, described)
      return described
    }
    this.#current.delete(id)
    return undefined
  }

  /**
   * Takes a new certificate: checks that key, chain, dates and names fit (else throws `bad_issued` and changes nothing),
   * stores it, makes it the current one, and only then lets go of old versions.
   */
  async add(id: string, pair: CertificatePair, about: About, now: number): Promise<StoredCertificate> {
    const { issuer, names, keyType = keyTypes[0], profile } = about
    const leaf = checked(pair, names, now)
    const stored = { ...pair, issuer, names: [...names], keyType, profile, leaf }
    const known = await this.#store.list(`certificate/${id}`)
    // Names sort by time: 15 digits, and after the last one even if the clock went back.
    const last = Number(known.at(-1) ?? 0)
    const version = String(Math.max(now, last + 1)).padStart(15, '0')
    await this.#store.write(`certificate/${id}/${version}`, JSON.stringify(stored))
    const certificate = describe(id, stored, now)!
    this.#current.set(id, certificate)
    for (const old of known.slice(0, Math.max(0, known.length + 1 - versionsKept))) {
      await this.#store.remove(`certificate/${id}/${old}`)
    }
    return certificate
  }
}

function checked(pair: CertificatePair, names: readonly string[], now: number) {
  try {
    const { fingerprint, notBefore, notAfter } = checkPair({ ...pair, names, now })
    return { fingerprint, notBefore: notBefore.getTime(), notAfter: notAfter.getTime() }
  } catch (error) {
    throw certsError('bad_issued', (error as Error).message, { cause: error })
  }
}

function describe(
  id: string,
  { leaf, ...stored }: z.output<typeof storedSchema>,
  now: number,
): StoredCertificate | undefined {
  try {
    const read = leaf ?? checked(stored, [], now)
    return now < read.notAfter ? { ...stored, id, ...read } : undefined
  } catch {
    // Expired, or of an older form: it is ordered anew.
    return undefined
  }
}
