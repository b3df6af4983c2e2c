import { describe, expect, it } from 'vitest'
import { none, type Outcome, type Scenario, usual } from './simulation/run.ts'
import { firstFlaw, flawed, runs, sum } from './simulation/series.ts'
import { type Rule, rules } from './simulation/switches.ts'

// Many more runs by hand: node packages/hub/test/simulation/main.ts SEED RUNS
const patience = 300_000

describe('a hub whose lines are cut and hang, and whose workers die and stall', { timeout: patience }, () => {
  it('loses nothing, repeats nothing and keeps every order, and its sessions go on', async () => {
    const outcomes = await runs(10)
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
    expect(sum(outcomes, 'resumed')).toBeGreaterThan(40)
  })

  it('keeps the order of what a sender says to several, where lines are cut while much is on its way to the log', async () => {
    const weather = { ...usual.weather, busMs: 40 }
    const outcomes = await runs(24, { weather, faults: { ...none, cut: 6 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'resumed')).toBeGreaterThan(200)
  })

  it('tells what is lost when sessions come back too late', async () => {
    const outcomes = await runs(6, {
      resumeMs: 1_000,
      awayMs: 100,
      faults: { ...none, cut: 1, shut: 3 },
    })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBeGreaterThan(0)
  })

  it('reads from its logs what a bus loses inside a living line, and says what comes late by that', async () => {
    const weather = { ...usual.weather, batchLoss: 0.05 }
    const outcomes = await runs(5, { weather, faults: none })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
  })

  it('tells a receiver what it was too slow for', async () => {
    const weather = { ...usual.weather, kernelBytes: 256, outboxFrames: 8 }
    const outcomes = await runs(5, { weather, faults: { ...none, slow: 6 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBeGreaterThan(0)
  })

  it('tells what is lost when the primary dies, and has every record again', async () => {
    const outcomes = await runs(5, { faults: { ...none, cut: 2, collapse: 0.7 } })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBeGreaterThan(0)
  })

  it('loses nothing when all of that happens at once', async () => {
    const weather = { ...usual.weather, batchLoss: 0.02 }
    const outcomes = await runs(5, { weather })
    expect(flawed(outcomes)).toEqual([])
    expect(sum(outcomes, 'toldLost')).toBe(0)
  })
})

describe('without the rule of', { timeout: patience }, () => {
  const harder = { faults: { ...none, cut: 3, hang: 1, kill: 2, freeze: 1 } }
  // Where workers die while much is on its way to the log.
  const slowLog = {
    weather: { ...usual.weather, busMs: 40 },
    faults: { ...none, kill: 6 },
  }
  const where: Record<Rule, Partial<Scenario>> = {
    again: { ...slowLog, any: 0 },
    // It shows in one run of twenty.
    positions: { seed: 34, weather: slowLog.weather, faults: { ...none, cut: 8 } },
    'a position per destination': harder,
    fence: harder,
    'order across destinations': harder,
    'any by the log': { ...slowLog, any: 0.9 },
  }

  it.each([harder, slowLog, { ...slowLog, any: 0.9 }])('none nothing goes wrong', async (scenario) => {
    expect(flawed(await runs(4, scenario))).toEqual([])
  })

  it.each(Object.keys(rules) as Rule[])('%s something does', async (name) => {
    using _ = rules[name]()
    const isFlaw = name === 'positions' ? ({ duplicates }: Outcome) => duplicates.length > 0 : undefined
    expect(await firstFlaw(60, where[name], isFlaw)).toBeDefined()
  })

  it.each([
    ['an append before its acknowledgement', { ...slowLog, weather: { ...slowLog.weather, hasty: true } }],
    ['batches before what the store says', { ...harder, weather: { ...usual.weather, batchLag: 200 } }],
    ['reading holes', { ...harder, weather: { ...usual.weather, batchLoss: 0.02, careless: true } }],
  ] as const)('%s something does', async (_, breach) => {
    expect(await firstFlaw(40, breach)).toBeDefined()
  })
})
