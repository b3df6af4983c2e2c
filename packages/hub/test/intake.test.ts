import { limits } from '@damon/protocol/limits'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Intake, Turns } from '../src/intake.ts'
import { Allowance, defaultRate, parseRates, Rates } from '../src/rates.ts'
import { Tick } from '../src/tick.ts'

let told: string[]
let turns: Turns
let intake: Intake

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout', 'setImmediate'] })
  told = []
  turns = new Turns(new Tick())
  intake = anIntake()
})
afterEach(() => {
  vi.useRealTimers()
})

function anIntake(): Intake {
  const source = { pause: () => void told.push('pause'), resume: () => void told.push('resume') }
  const made: Intake = new Intake(source, {
    turns,
    owner: {
      excessive: (ms) => void told.push(`told, ${ms} ms`),
      unbearable: () => {
        told.push('ended')
        made.close()
      },
    },
  })
  return made
}
const nextTurn = () => vi.advanceTimersByTime(0)

describe('in one turn of the event loop', () => {
  it('a session brings so many frames, and the rest in the next', () => {
    for (let i = 1; i < limits.turnFrames; i++) intake.took(10)
    expect(told).toEqual([])
    intake.took(10)
    intake.took(10)
    expect(told).toEqual(['pause'])
    nextTurn()
    expect(told).toEqual(['pause', 'resume'])
    for (let i = 1; i < limits.turnFrames; i++) intake.took(10)
    expect(told).toEqual(['pause', 'resume'])
  })

  it('a session brings so many bytes', () => {
    intake.took(limits.turnBytes - 1)
    expect(intake.paused).toBe(false)
    intake.took(1)
    expect(intake.paused).toBe(true)
  })

  it('one that brings too much takes nothing from the others', () => {
    const other = anIntake()
    for (let i = 0; i < 10 * limits.turnFrames; i++) intake.took(10)
    other.took(10)
    expect([intake.paused, other.paused]).toEqual([true, false])
  })
})

it('is read only when every reason not to is gone', () => {
  intake.pause()
  intake.hold()
  intake.resume()
  expect([told, intake.paused]).toEqual([['pause'], true])
  intake.release()
  intake.release()
  expect([told, intake.paused]).toEqual([['pause', 'resume'], false])
})

it('is never read again once it is closed', () => {
  intake.took(limits.turnBytes)
  intake.close()
  nextTurn()
  intake.hold()
  intake.release()
  expect(told).toEqual(['pause'])
})

describe('a rate', () => {
  const rate = { framesPerSecond: 100, bytesPerSecond: 10_000 }
  /** Brings as much as it is read, a frame at a time, for so long. */
  const flood = (ms: number, bytes = 1) => {
    let frames = 0
    for (const end = performance.now() + ms; performance.now() < end; vi.advanceTimersByTime(1))
      for (let chunk = 0; !intake.paused && chunk < 100; chunk++, frames++) intake.took(bytes)
    return frames
  }

  beforeEach(() => {
    intake.allow(new Allowance(rate, performance.now()))
  })

  it('of frames holds whoever sends more, and lets a burst through', () => {
    const burst = (rate.framesPerSecond * limits.burstMs) / 1_000
    const frames = flood(5_000)
    expect(frames).toBeGreaterThan(5 * rate.framesPerSecond - burst)
    expect(frames).toBeLessThanOrEqual(5 * rate.framesPerSecond + burst)
  })

  it('of bytes as well', () => {
    const burst = (rate.bytesPerSecond * limits.burstMs) / 1_000
    const bytes = 500 * flood(5_000, 500)
    expect(bytes).toBeGreaterThan(5 * rate.bytesPerSecond - burst)
    expect(bytes).toBeLessThanOrEqual(5 * rate.bytesPerSecond + burst)
  })

  it('lets no more than a burst come at once, however long nothing came', () => {
    for (const idleMs of [0, 60_000]) {
      vi.advanceTimersByTime(idleMs)
      const frames = flood(1)
      expect(frames).toBeLessThanOrEqual((rate.framesPerSecond * limits.burstMs) / 1_000)
    }
  })

  it('is not noticed by who stays below it', () => {
    for (let i = 0; i < 1_000; i++) {
      intake.took(10)
      vi.advanceTimersByTime(1_000 / rate.framesPerSecond)
    }
    expect(told).toEqual([])
  })

  it('that is exceeded without a break is told once, and ends the session in the end', () => {
    flood(limits.excessToldMs - 1_000)
    const spoken = () => told.filter((what) => what !== 'pause' && what !== 'resume')
    expect(spoken()).toEqual([])
    flood(limits.excessMs - limits.excessToldMs - 1_000)
    expect(spoken()).toEqual([expect.stringMatching(/^told, \d+ ms$/)])
    flood(4_000)
    expect(spoken()).toEqual([expect.stringMatching(/^told/), 'ended'])
    const { length } = told
    vi.advanceTimersByTime(10_000)
    expect(told).toHaveLength(length)
  })

  it('that is exceeded again and again, with pauses, ends nothing', () => {
    for (let i = 0; i < 20; i++) {
      flood(limits.excessToldMs - 1_000)
      vi.advanceTimersByTime(limits.burstMs)
    }
    expect(told.filter((what) => what !== 'pause' && what !== 'resume')).toEqual([])
  })
})

describe('the sessions of one token', () => {
  it('share what it allows, as long as there are any', () => {
    const rates = new Rates(new Map())
    const token = { jti: 'a', rate: undefined }
    const [one, two] = [rates.join(token), rates.join(token)]
    expect(two).toBe(one)
    expect(rates.join({ jti: 'b' })).not.toBe(one)
    for (const jti of ['a', 'b']) rates.leave({ jti })
    expect(rates.join(token)).toBe(one)
    for (let i = 0; i < 2; i++) rates.leave(token)
    expect(rates.size).toBe(0)
  })

  it('may what its class says, that of the name default, or the usual', () => {
    const classes = parseRates('{"slow":{"framesPerSecond":2,"bytesPerSecond":10000}}')
    const portion = (allowance: Allowance) => {
      for (let frames = 0; ; frames++) if (!allowance.take(1)) return frames
    }
    const rates = new Rates(classes)
    expect(portion(rates.join({ jti: 'a', rate: 'slow' }))).toBe(1)
    const usual = (defaultRate.framesPerSecond * limits.burstMs) / 2_000
    expect(portion(rates.join({ jti: 'b', rate: 'constructor' }))).toBe(usual)
    const all = new Rates(parseRates('{"default":{"framesPerSecond":20,"bytesPerSecond":10000}}'))
    expect(portion(all.join({ jti: 'a', rate: 'unknown' }))).toBe(10)
  })

  it.each(['', '[]', '{"a":{}}', '{"a":{"framesPerSecond":0,"bytesPerSecond":10000}}', '{"a":{"framesPerSecond":1}}'])(
    'get no class from %s',
    (text) => {
      expect(() => parseRates(text)).toThrow()
    },
  )
})
