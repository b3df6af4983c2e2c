import { expect, test } from 'vitest'
import { type CloseName, closeName, closes, mayReconnect } from '../src/closes.ts'
import { DamonError, damonError, type ErrorCode, errors, isErrorCode } from '../src/errors.ts'
import { frameNumbers, replyVerdicts, verdicts } from '../src/frames.ts'
import { limits } from '../src/limits.ts'

const closeTable = Object.entries(closes) as [CloseName, (typeof closes)[CloseName]][]

test.each(closeTable)('the close code of %s is in the range that says whether to come back', (name, close) => {
  expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
  expect(close.code).toBeGreaterThanOrEqual(close.retry ? 3000 : 3500)
  expect(close.code).toBeLessThanOrEqual(close.retry ? 3499 : 3999)
  expect(mayReconnect(close.code)).toBe(close.retry)
  expect(closeName(close.code)).toBe(name)
  expect(close.message).toMatch(/^[A-Z].*\.$/)
  // RFC 6455, 5.5: a close frame holds 123 bytes of reason.
  expect(name.length).toBeLessThanOrEqual(123)
})

test('no close code is used twice', () => {
  const codes = closeTable.map(([, { code }]) => code)
  expect(new Set(codes).size).toBe(codes.length)
})

test.each([1000, 1001, 1002, 1005, 1006, 1007, 1009, 1011, 2999, 4000])(
  'close code %i is of no table, and one comes back after it',
  (code) => {
    expect(closeName(code)).toBeUndefined()
    expect(mayReconnect(code)).toBe(true)
  },
)

test('a final close code of a newer hub is final too', () => {
  expect(closeName(3999)).toBeUndefined()
  expect(mayReconnect(3999)).toBe(false)
})

test.each(Object.entries(errors))('the error %s is spelled in snake case and says something', (code, { message }) => {
  expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/)
  expect(message).toMatch(/^[A-Z].*\.$/)
})

test('an error keeps its code, its field, its cause and whether to try again', () => {
  const cause = new Error('below')
  const error = damonError('unavailable', 'The store is away.', { field: 'key', cause })
  expect(error).toBeInstanceOf(DamonError)
  expect(error).toMatchObject({ name: 'DamonError', code: 'unavailable', retry: true, field: 'key', cause })
  expect(error.message).toBe(`The store is away. ${errors.unavailable.message}`)
  expect(damonError('denied')).toMatchObject({ message: errors.denied.message, retry: false, field: undefined })
  expect('cause' in damonError('denied')).toBe(false)
})

test('what objects inherit is no error code', () => {
  expect(isErrorCode('denied' satisfies ErrorCode)).toBe(true)
  for (const text of ['constructor', 'toString', '__proto__', '', 'Denied']) expect(isErrorCode(text)).toBe(false)
})

test('no frame number is used twice, and each tells its side', () => {
  const client = Object.values<number>(frameNumbers.client)
  const hub = Object.values<number>(frameNumbers.hub)
  expect(new Set([...client, ...hub]).size).toBe(client.length + hub.length)
  for (const number of client) expect(number).toBeLessThan(64)
  for (const number of hub) expect(number).toBeGreaterThanOrEqual(64)
  for (const number of hub) expect(number).toBeLessThan(256)
})

test('what a receiver may say has the same number among all verdicts', () => {
  expect(verdicts.slice(0, replyVerdicts.length)).toEqual([...replyVerdicts])
})

test('limits are whole and above 0, and what must fit into another does', () => {
  for (const limit of Object.values(limits)) {
    expect(Number.isInteger(limit)).toBe(true)
    expect(limit).toBeGreaterThan(0)
  }
  expect(limits.helloBytes).toBeLessThan(limits.frameBytes)
  expect(limits.recordBytes).toBeLessThan(limits.frameBytes)
  expect(limits.frameBytes).toBeLessThan(limits.outboxBytes)
  expect(limits.defaultDeadlineMs).toBeLessThan(limits.deadlineMs)
})
