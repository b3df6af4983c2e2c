import { describe, expect, it } from 'vitest'
import { type RedisRule, redisRules, shortLogs } from './simulation/redis/switches.ts'
import { none, type Scenario, usual } from './simulation/run.ts'
import { firstFlaw, flawed, runs, sum } from './simulation/series.ts'

// Many more runs by hand: node packages/hub/test/simulation/main.ts SEED RUNS '{"bus":"redis"}'
const patience = 300_000
const bus = 'redis'
const loss = { ...usual.weather, batchLoss: 0.05 }
/** Clients that stay away for longer than logs reach back. */
const away = { bus, resumeMs: 20_000, awayMs: 100, faults: { ...none, cut: 2, shut: 1, sever: 4 } } as const
const shortMs = 50

describe('hubs with one Redis', { timeout: patience }, () => {
  it('lose nothing while lines break, workers die and stall, and are ended by their primaries or by their leases', async () => {
    const outcomes = await runs(4, { bus, faults: { ...usual.faults, bury: 0.5, sever: 1 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
    expect(sum(outcomes, 'resumed')).toBeGreaterThan(20)
  })

  it('lose nothing while Redis stands still and restarts', async () => {
    const stopping = await runs(3, { bus, faults: { ...usual.faults, stall: 0.4, restart: 0.3 } })
    // Now and then a message overtakes an earlier one to another destination that way; none is lost, or comes twice.
    const outcomes = stopping.map((outcome) => ({ ...outcome, across: [] }))
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
  })

  it('tell what is lost when Redis is emptied, and have every record again', async () => {
    const outcomes = await runs(2, { bus, faults: { ...usual.faults, empty: 0.4 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBeGreaterThan(0)
  })

  it('have again what another Redis in the place of the first does not know', async () => {
    const outcomes = await runs(2, { bus, faults: { ...none, failover: 0.5 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
  })

  it('read from the logs what is lost inside living connections', async () => {
    const outcomes = await runs(2, { bus, weather: loss, faults: none })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
  })

  it('tell what the logs do not reach back to, and what a receiver was too slow for', async () => {
    const weather = { ...usual.weather, kernelBytes: 256, outboxFrames: 8 }
    const slow = await runs(1, { bus, weather, faults: { ...none, slow: 6, sever: 1 } })
    using _ = shortLogs(shortMs)
    const outcomes = await runs(2, away)
    expect([...flawed(slow), ...flawed(outcomes)]).toEqual([])
    expect(sum(slow, 'toldLost')).toBeGreaterThan(0)
    expect(sum(outcomes, 'toldLost')).toBeGreaterThan(0)
  })
})

describe('on Redis, without the rule of', { timeout: patience }, () => {
  // Each begins with a seed that shows it.
  const where: Record<RedisRule, Partial<Scenario>> = {
    fence: { seed: 3, faults: { ...usual.faults, empty: 0.5 } },
    release: { seed: 2, weather: { ...usual.weather, busMs: 40 }, faults: { ...none, cut: 12, freeze: 4 } },
    audit: { faults: { ...usual.faults, cut: 1, bury: 0.5, sever: 4 } },
    'lost before arrived': {
      seed: 5,
      weather: { ...usual.weather, busMs: 20 },
      faults: { ...none, cut: 6, bury: 2, sever: 8 },
    },
    tails: { weather: loss, faults: none },
    'catching up': { seed: 4, faults: { ...usual.faults, failover: 1 } },
    proof: away,
  }

  it.each(Object.keys(redisRules) as RedisRule[])('%s something goes wrong', async (name) => {
    using _ = redisRules[name]()
    using _logs = name === 'proof' ? shortLogs(shortMs) : undefined
    expect(await firstFlaw(40, { bus, ...where[name] })).toBeDefined()
  })

  it('reading holes something goes wrong', async () => {
    const weather = { ...usual.weather, batchLoss: 0.02, careless: true }
    expect(await firstFlaw(40, { bus, weather, faults: none })).toBeDefined()
  })
})
