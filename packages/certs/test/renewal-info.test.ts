import { X509Certificate } from 'node:crypto'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { expect, test } from 'vitest'
import { certificateId, choose, identifier, readRenewalInfo } from '../src/renewal-info.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const now = Date.parse('2026-11-23T00:00:00Z')

test('the identifier of RFC 9773, 4.1 comes out, with the zero that keeps a serial number positive', () => {
  const keyId = Buffer.from('69885B6B87464041E1B37B847BA0AE2CDE01C8D4', 'hex')
  expect(identifier(keyId, Buffer.from('87654321', 'hex'))).toBe('aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE')
  expect(identifier(keyId, Buffer.from('0087654321', 'hex'))).toBe('aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE')
})

test('key identifier and serial number are found in a certificate', async () => {
  const authority = await createAuthority({ name: 'test', now, days: 10 })
  for (let round = 0; round < 8; round++) {
    const { chain } = await issueLeaf(authority, { names: ['a.test'], now, days: 1 })
    const [keyId = '', serial = ''] = (certificateId(chain) ?? '').split('.')
    const leaf = new X509Certificate(chain)
    expect(leaf.toString()).toContain('BEGIN')
    expect(Buffer.from(serial, 'base64url').toString('hex').replace(/^0+/, '')).toBe(
      leaf.serialNumber.toLowerCase().replace(/^0+/, ''),
    )
    expect(Buffer.from(serial, 'base64url')[0]).toBeLessThan(0x80)
    // The authority's own key identifier stands in its certificate too.
    expect(new X509Certificate(authority.certificate).raw.includes(Buffer.from(keyId, 'base64url'))).toBe(true)
  }
})

test('an answer is read; a window that ends before it begins is none', () => {
  const window = { start: '2026-12-01T00:00:00Z', end: '2026-12-02T00:00:00Z' }
  const body = { suggestedWindow: window, explanationURL: 'https://ca.test/why' }
  expect(readRenewalInfo(body, '21600', now)).toEqual({
    start: Date.parse(window.start),
    end: Date.parse(window.end),
    askAt: now + 6 * hour,
    explanation: 'https://ca.test/why',
  })
  expect(readRenewalInfo({ suggestedWindow: { start: window.end, end: window.start } }, '1', now)).toBeUndefined()
  expect(readRenewalInfo({ suggestedWindow: { start: window.end, end: window.end } }, '1', now)).toBeUndefined()
  expect(readRenewalInfo('no', '1', now)).toBeUndefined()
})

test.each([
  ['0', minute],
  ['1', minute],
  ['3600', hour],
  ['999999', day],
  [undefined, 6 * hour],
  ['soon', 6 * hour],
])('Retry-After %s is taken for %i ms', (header, wait) => {
  const body = { suggestedWindow: { start: '2026-12-01T00:00:00Z', end: '2026-12-02T00:00:00Z' } }
  expect(readRenewalInfo(body, header, now)?.askAt).toBe(now + wait)
})

test('the instant lies in the window with room for the order, and stays while the window stays', () => {
  const window = { start: now, end: now + 3 * hour, askAt: now }
  for (const random of [0, 0.3, 0.999999]) {
    const { at } = choose(undefined, window, 'a', random)
    expect(at).toBeGreaterThanOrEqual(window.start)
    expect(window.end - at).toBeGreaterThanOrEqual(0.3 * hour)
  }
  const first = choose(undefined, window, 'a', 0.2)
  expect(choose(first, { ...window, askAt: now + 1 }, 'a', 0.9)).toEqual({ ...first, askAt: now + 1 })
  expect(choose(first, { ...window, end: now + 4 * hour }, 'a', 0.9).at).not.toBe(first.at)
  expect(choose(first, window, 'b', 0.9).at).not.toBe(first.at)
})
