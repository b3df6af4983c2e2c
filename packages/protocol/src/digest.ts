/** What a digest says of a record. */
export interface Digestible {
  key: string
  revision: number
  state: 'live' | 'suspect'
}

/**
 * Whether two sides have the same records: a sum over (key, revision, state) that knows no order, so that each record is
 * taken in and out for itself. It finds accidents; it is no defence against an enemy.
 */
export class RecordDigest {
  #high = 0
  #low = 0

  add(record: Digestible): void {
    const [high, low] = hash(record)
    this.#high = (this.#high + high) >>> 0
    this.#low = (this.#low + low) >>> 0
  }

  /** Takes out what was added. */
  remove(record: Digestible): void {
    const [high, low] = hash(record)
    this.#high = (this.#high - high) >>> 0
    this.#low = (this.#low - low) >>> 0
  }

  /** 16 hex digits. */
  toString(): string {
    return word(this.#high) + word(this.#low)
  }
}

/** The digest of all of these. */
export function digestOf(records: Iterable<Digestible>): string {
  const digest = new RecordDigest()
  for (const record of records) digest.add(record)
  return digest.toString()
}

// Two rounds of multiply and xor over the characters of `KEY REVISION STATE`, then each half mixed into the other.
function hash({ key, revision, state }: Digestible): [number, number] {
  const text = `${key} ${revision} ${state}`
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const character = text.charCodeAt(i)
    high = Math.imul(high ^ character, 0x9e3779b1)
    low = Math.imul(low ^ character, 0x5f356495)
  }
  const mixedHigh = mix(high) ^ mix(low ^ 0x2c1b3c6d)
  const mixedLow = mix(low) ^ mix(high ^ 0x297a2d39)
  return [mixedHigh >>> 0, mixedLow >>> 0]
}

function mix(value: number): number {
  const once = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35)
  return twice ^ (twice >>> 16)
}

function word(value: number): string {
  return value.toString(16).padStart(8, '0')
}
