import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { readRetryAfter } from './retry-after.ts'

const minute = 60_000
const day = 86_400_000
/** Until the next question when the last one failed, or said nothing of it (RFC 9773, 4.3.3). */
export const askAgainMs = 6 * 3_600_000

/** When the authority wants a certificate to be renewed (RFC 9773). Unix ms. */
export interface RenewalWindow {
  start: number
  end: number
  /** When to ask again. */
  askAt: number
  /** A page of the authority that says why. */
  explanation?: string | undefined
}

/** A window with the instant that was chosen in it. */
export interface Suggestion extends RenewalWindow {
  /** Of the certificate that it is about. */
  fingerprint: string
  at: number
}

const answer = z.object({
  suggestedWindow: z.object({ start: z.iso.datetime({ offset: true }), end: z.iso.datetime({ offset: true }) }),
  explanationURL: z.url({ protocol: /^https?$/ }).optional(),
})

/** The unique identifier of a certificate (RFC 9773, 4.1); nothing if it does not name the key of its authority. */
export function certificateId(chain: string): string | undefined {
  const { raw, serialNumber } = new X509Certificate(chain)
  const keyId = authorityKeyId(raw)
  return keyId && identifier(keyId, Buffer.from(serialNumber, 'hex'))
}

/** The extension's DER: object identifier, perhaps "critical", octet string, sequence, and in it the [0] we look for. */
const authorityKeyIdentifier = Buffer.from('0603551d23', 'hex')

function authorityKeyId(der: Buffer): Buffer | undefined {
  const found = der.indexOf(authorityKeyIdentifier)
  if (found < 0) return undefined
  let position = found + authorityKeyIdentifier.length
  if (der[position] === 0x01) position += 3
  if (der[position] !== 0x04 || der[position + 2] !== 0x30 || der[position + 4] !== 0x80) return undefined
  const length = der[position + 5] ?? 0
  return der.subarray(position + 6, position + 6 + length)
}

/** The identifier made of key identifier and serial number. */
export function identifier(keyId: Uint8Array, serial: Uint8Array): string {
  const isNegative = (serial[0] ?? 0) >= 0x80
  const number = isNegative ? Buffer.concat([Buffer.of(0), serial]) : Buffer.from(serial)
  return `${Buffer.from(keyId).toString('base64url')}.${number.toString('base64url')}`
}

/**
 * Reads an answer to "renewalInfo"; nothing if it is none, or its window ends before it begins. `retryAfter` is its header,
 * believed between a minute and a day.
 */
export function readRenewalInfo(body: unknown, retryAfter: string | undefined, now: number): RenewalWindow | undefined {
  const { suggestedWindow, explanationURL } = answer.safeParse(body).data ?? {}
  if (!suggestedWindow) return undefined
  const [start, end] = [Date.parse(suggestedWindow.start), Date.parse(suggestedWindow.end)]
  if (end <= start) return undefined
  const asked = readRetryAfter(retryAfter, now)
  const askAt = asked === undefined ? now + askAgainMs : Math.min(Math.max(asked, now + minute), now + day)
  return { start, end, askAt, explanation: explanationURL }
}

/**
 * Chooses the instant of renewal: anywhere in the first nine tenths of the window, so that the order itself falls into it
 * too. While the window stays as it was, so does the instant. `random` is 0 to 1.
 */
export function choose(
  before: Suggestion | undefined,
  window: RenewalWindow,
  fingerprint: string,
  random: number,
): Suggestion {
  const isSame = before?.fingerprint === fingerprint && before.start === window.start && before.end === window.end
  const at = isSame ? before.at : Math.round(window.start + random * 0.9 * (window.end - window.start))
  return { ...window, fingerprint, at }
}
