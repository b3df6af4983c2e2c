import { describe, expect, test } from 'vitest'
import { Ejections, ejection } from '../../src/lavalink/ejections.ts'
import { OutcomeLedger, OutcomeReader, reporting } from '../../src/lavalink/outcomes.ts'

const event = (type: string, guildId = '7', more = {}) => ({ op: 'event', type, guildId, ...more })
const exception = (text: string) => ({ exception: { message: 'Something broke.', cause: text, causeStackTrace: text } })

describe('a node that fails a bot', () => {
  test('is set aside after failures in a row, and longer each time', () => {
    const ejections = new Ejections()
    const fail = (times: number, now: number) => {
      for (let i = 0; i < times; i++) ejections.failed('a', now)
    }
    fail(ejection.failures - 1, 1_000)
    ejections.succeeded('a')
    fail(ejection.failures - 1, 1_000)
    expect(ejections.until('a', 1_000)).toBeUndefined()
    fail(1, 1_000)
    expect(ejections.until('a', 1_000)).toBe(1_000 + ejection.stepMs)
    expect(ejections.until('b', 1_000)).toBeUndefined()
    let now = 1_000 + ejection.stepMs
    expect(ejections.until('a', now)).toBeUndefined()
    fail(ejection.failures, now)
    expect(ejections.until('a', now)).toBe(now + 2 * ejection.stepMs)
    // What fails while it is set aside does not make it longer.
    fail(10 * ejection.failures, now + 1)
    expect(ejections.until('a', now)).toBe(now + 2 * ejection.stepMs)
    for (let times = 0; times < 50; times++) {
      now = ejections.until('a', now) ?? now
      ejections.eject('a', now)
    }
    expect(ejections.until('a', now)).toBe(now + ejection.maxMs)
  })

  test('is forgiven after a long time', () => {
    const ejections = new Ejections()
    ejections.eject('a', 0)
    ejections.eject('a', ejection.stepMs)
    const later = 3 * ejection.stepMs + ejection.forgetMs
    ejections.eject('a', later)
    expect(ejections.until('a', later)).toBe(later + ejection.stepMs)
  })
})

describe('the outcome of a track', () => {
  test('is a start, and at most one failure or end of it', () => {
    const reader = new OutcomeReader()
    const read = (message: unknown) => reader.read('a', message)?.what
    expect(read(event('TrackStartEvent'))).toBe('start')
    expect(read(event('TrackExceptionEvent', '7', exception('RateLimitException: Retry aborted')))).toBe('rate')
    expect(read(event('TrackEndEvent', '7', { reason: 'loadFailed' }))).toBeUndefined()
    expect(read(event('TrackStartEvent'))).toBe('start')
    expect(read(event('TrackEndEvent', '7', { reason: 'loadFailed' }))).toBe('other')
    expect(read(event('TrackStartEvent'))).toBe('start')
    expect(read(event('TrackStuckEvent', '7', { thresholdMs: 10_000 }))).toBe('other')
    expect(read(event('TrackStartEvent'))).toBe('start')
    expect(read(event('TrackEndEvent', '7', { reason: 'finished' }))).toBe('end')
    expect(read(event('TrackExceptionEvent', '8', exception('not a bot')))).toBeUndefined()
  })

  test.each([undefined, null, 'text', { op: 'event' }, { op: 'stats', players: 1 }, event('NewEvent'), { guildId: 7 }])(
    'is in no other message: %j',
    (message) => {
      expect(new OutcomeReader().read('a', message)).toBeUndefined()
    },
  )
})

describe('outcomes are told', () => {
  test('every half a minute, each once', () => {
    const ledger = new OutcomeLedger()
    ledger.note({ node: 'a', what: 'start' }, 1_000)
    ledger.note({ node: 'a', what: 'gone' }, 2_000)
    ledger.note({ node: 'a', what: 'end' }, 3_000)
    expect(ledger.take(1_000 + reporting.everyMs - 1)).toEqual([])
    expect(ledger.take(1_000 + reporting.everyMs)).toEqual([
      { node: 'a', starts: 1, failed: { gone: 1 }, windowMs: reporting.everyMs },
    ])
    expect(ledger.take(10 * reporting.everyMs)).toEqual([])
  })

  test('at once when many fail, but not again at once', () => {
    const ledger = new OutcomeLedger()
    const burst = (now: number) => {
      for (let i = 0; i < reporting.burst; i++) {
        ledger.note({ node: 'a', what: 'start' }, now)
        ledger.note({ node: 'a', what: 'rate' }, now)
      }
    }
    burst(1_000)
    expect(ledger.take(1_500)).toEqual([{ node: 'a', starts: 5, failed: { rate: 5 }, windowMs: 500 }])
    burst(1_600)
    expect(ledger.take(1_600)).toEqual([])
    expect(ledger.take(1_500 + reporting.burstMs)).toMatchObject([{ starts: 5 }])
  })

  test('later, and with what came since, when they could not be told', () => {
    const ledger = new OutcomeLedger()
    ledger.note({ node: 'a', what: 'start' }, 0)
    const [report] = ledger.take(reporting.everyMs)
    ledger.note({ node: 'a', what: 'start' }, reporting.everyMs + 10)
    ledger.note({ node: 'a', what: 'bot' }, reporting.everyMs + 10)
    ledger.putBack(report!, reporting.everyMs + 100)
    expect(ledger.take(2 * reporting.everyMs + 100)).toEqual([
      { node: 'a', starts: 2, failed: { bot: 1 }, windowMs: 2 * reporting.everyMs },
    ])
  })
})
