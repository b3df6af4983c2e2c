import { describe, expect, it } from 'vitest'
import { type Health, judge, memory, type Observation, type Order, pause, thresholds } from '../src/health.ts'
import type { Look } from '../src/lavalink.ts'

const load = {
  players: 1,
  playingPlayers: 1,
  systemLoad: 0,
  lavalinkLoad: 0,
  memoryUsed: 0,
  memoryReservable: 1,
  uptime: 1,
}
const looks: Record<string, Look> = {
  w: { kind: 'well', version: '4.2.2', load },
  s: { kind: 'silent', reason: 'refuses connections' },
  f: { kind: 'foreign', reason: 'answers /v4/stats with a wrong players' },
  r: { kind: 'refused', reason: 'refuses the password (403)' },
}

/** The states a node goes through as looks come in, one per `stepMs`; the letters are the kinds of `looks`. */
function states(sequence: string, options: { stepMs?: number; order?: Order } = {}): Health[] {
  const observations: Observation[] = []
  let health: Health = { state: 'starting', reasons: [], since: 0 }
  return [...sequence].map((letter, index) => {
    const at = (index + 1) * (options.stepMs ?? 1_000)
    observations.push({ at, look: looks[letter]! })
    health = judge(health, observations.slice(-memory), options.order, at)
    return health
  })
}

const initials = { starting: 'S', ready: 'R', unreachable: 'U', misconfigured: 'M', draining: 'D' } as Record<
  string,
  string
>

describe('the state of a node', () => {
  it.each([
    ['is ready at the first good look', 'w', 'R'],
    ['survives two failed looks', 'wsswssw', 'RRRRRRR'],
    ['is unreachable after three in a row', 'wsss', 'RRRU'],
    ['is ready again after two good looks, not one', 'wsssws ww', 'RRRUUUUR'],
    ['is misconfigured at the first refused password, even while starting', 'r', 'M'],
    ['is misconfigured at the first refused password of a node that was ready', 'wr', 'RM'],
    ['is ready again once the password is taken twice', 'rww', 'MMR'],
    ['is misconfigured when something else answers three times', 'fff', 'SSM'],
    ['is unreachable when what answered wrong is gone', 'wfffs', 'RRRMU'],
    ['keeps starting while its Lavalink boots', 'ssssss', 'SSSSSS'],
  ])('%s', (_, sequence, expected) => {
    const letters = states(sequence.replaceAll(' ', '')).map(({ state }) => initials[state])
    expect(letters.join('')).toBe(expected)
  })

  it('is unreachable when it was never seen for as long as a start may take', () => {
    const seen = states('ssss', { stepMs: thresholds.startingMs / 3 })
    expect(seen.map(({ state }) => state)).toEqual(['starting', 'starting', 'unreachable', 'unreachable'])
  })

  it('says why in words, and since when', () => {
    const seen = states('wssss')
    expect(seen[0]).toEqual({ state: 'ready', reasons: [], since: 1_000 })
    expect(seen[4]).toEqual({
      state: 'unreachable',
      reasons: ['Lavalink refuses connections, 3 or more times in a row'],
      since: 4_000,
    })
  })

  it('is what was ordered, whatever Lavalink answers', () => {
    expect(states('wsr', { order: 'drain' }).every(({ state }) => state === 'draining')).toBe(true)
    expect(states('w', { order: 'retire' })[0]?.state).toBe('retired')
  })

  it('stays as it is without evidence', () => {
    const before: Health = { state: 'starting', reasons: ['not looked at yet'], since: 7 }
    expect(judge(before, [], undefined, 10_000_000)).toBe(before)
  })
})

describe('the pause before the next look', () => {
  const rhythm = { pollMs: 5_000, quickMs: 1_000, refusedMs: 60_000 }
  const at = (state: Health['state'], letter: string) => pause({ state, reasons: [], since: 0 }, looks[letter], rhythm)

  it('is long while nothing changes and short while something shows', () => {
    expect(at('ready', 'w')).toBe(5_000)
    expect(at('ready', 's')).toBe(1_000)
    expect(at('unreachable', 's')).toBe(5_000)
    expect(at('unreachable', 'w')).toBe(1_000)
    expect(at('starting', 's')).toBe(1_000)
    expect(at('draining', 'w')).toBe(1_000)
  })

  it('is longest after a refused password', () => {
    expect(at('misconfigured', 'r')).toBe(60_000)
    expect(at('draining', 'r')).toBe(60_000)
  })
})
