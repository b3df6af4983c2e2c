import { createLogger } from '@damon/runtime/logger'
import { beforeEach, describe, expect, it } from 'vitest'
import { openKept } from '../src/embedded/kept.ts'
import { EmbeddedState } from '../src/embedded/state.ts'
import { Lease } from '../src/lease.ts'
import { lateSweepMs, workerLeaseMs } from '../src/store.ts'
import { turn } from './manual-bus.ts'

describe('the lease of a worker in the embedded state', () => {
  let now: number
  let news: string[]
  let state: EmbeddedState

  beforeEach(() => {
    now = 1_000
    news = []
    state = new EmbeddedState({
      kept: openKept(':memory:'),
      times: { graceMs: 3_000, awayMs: 1_000, resumeMs: 5_000 },
      now: () => now,
      unreserved: () => undefined,
      audience: {
        batch: () => undefined,
        change: (to, change) => news.push(`${to} ${change.change}`),
        gone: (to, sessions) => news.push(`${to} gone ${sessions.join()}`),
        over: () => undefined,
        release: () => undefined,
        ended: (to, origin) => news.push(`${to} ended ${origin}`),
      },
    })
  })

  /** Time passes, and the state is swept as it should be. */
  function pass(ms: number, meanwhile: () => void = () => undefined): void {
    for (const end = now + ms; now < end; ) {
      now += 250
      meanwhile()
      state.sweep()
    }
  }

  it('ends when it is not renewed, and with it its sessions', () => {
    const [one, two] = [state.admit(), state.admit()]
    state.openSession(one, { session: 'a', subject: 'bot/a', channels: ['all'] })
    pass(workerLeaseMs - 500, () => state.renew(two))
    expect(state.has(one)).toBe(true)
    pass(500, () => state.renew(two))
    expect([state.has(one), state.renew(one), state.has(two)]).toEqual([false, false, true])
    expect(news).toEqual([`${two} gone a`, `${two} ended ${one}`])
    expect([state.pick('all'), state.absent(['a'])]).toEqual([undefined, ['a']])
  })

  it('does not end because nobody could renew: a sweep that comes late blames no one', () => {
    const one = state.admit()
    pass(1_000)
    now += 60_000
    state.sweep()
    state.sweep()
    expect(state.has(one)).toBe(true)
    pass(workerLeaseMs - 1_500)
    expect(state.has(one)).toBe(true)
    pass(1_000)
    expect(state.has(one)).toBe(false)
  })

  it('and the grace of a suspect record are lengthened alike', () => {
    const one = state.admit()
    state.openSession(one, { session: 'a', subject: 'bot/a', channels: [] })
    state.put({ owner: 'a', subject: 'bot/a', key: 'node/a', value: '', leased: true })
    state.endSession('a', 'lost')
    now += 60_000
    state.sweep()
    expect(state.snapshot().records).toMatchObject([{ state: 'suspect' }])
    pass(3_000, () => state.renew(one))
    expect(state.snapshot().records).toEqual([])
  })

  it('is not lengthened by a sweep that is a little late', () => {
    const one = state.admit()
    for (let i = 0; i < 5; i++) {
      now += lateSweepMs - 1
      state.sweep()
    }
    expect(state.has(one)).toBe(false)
  })
})

describe("a worker's view of its lease", () => {
  const log = createLogger({ service: 'test', level: 'silent' })
  let told: string[]
  let answer: () => Promise<boolean>
  let lease: Lease

  beforeEach(() => {
    told = []
    answer = async () => true
    lease = new Lease({ log, fenced: () => told.push('fenced'), changed: (ok) => told.push(ok ? 'there' : 'away') })
  })
  const start = () => lease.start({ renew: () => answer(), sweep: async () => undefined })

  it('is that the store answers when it is connected and the lease was renewed', async () => {
    lease.connected(true)
    expect(lease.reachable).toBe(false)
    await start()
    expect([lease.reachable, told]).toEqual([true, ['there']])
    lease.connected(false)
    expect([lease.reachable, told]).toEqual([false, ['there', 'away']])
    lease.connected(true)
    await turn()
    expect(told).toEqual(['there', 'away', 'there'])
    lease.stop()
  })

  it('is that the store is away when it does not answer, though the connection stands', async () => {
    answer = () => Promise.reject(new Error('timed out'))
    lease.connected(true)
    await start()
    expect([lease.reachable, told]).toEqual([false, []])
    lease.stop()
  })

  it('is that it must end when the lease is lost, before anything else is done', async () => {
    answer = async () => false
    lease.connected(true)
    await start()
    expect(told).toEqual(['fenced'])
    lease.stop()
  })
})
