import type { NodeState } from '@damon/protocol/records'
import { describe, expect, it } from 'vitest'
import { type Health, judge, type Order, unknownHealth } from '../src/decision.ts'
import type { Look } from '../src/lavalink.ts'
import { type Evidence, noEvidence, remember } from '../src/observation.ts'
import { pause } from '../src/rhythm.ts'
import { defaultThresholds } from '../src/thresholds.ts'
import { lookWell, play, type Recorded } from './recording.ts'

const looks: Record<string, Look> = {
  w: lookWell(),
  s: { kind: 'silent', reason: 'refuses connections' },
  f: { kind: 'foreign', reason: 'answers /v4/stats with a wrong players' },
  r: { kind: 'refused', reason: 'refuses the password (403)' },
}
const initials = { starting: 'S', ready: 'R', unreachable: 'U', misconfigured: 'M', draining: 'D' } as Record<
  string,
  string
>
const limits = defaultThresholds
const minute = 60_000

/** The states a node goes through as looks come in, one per `stepMs`; the letters are the kinds of `looks`. */
function states(sequence: string, options: { stepMs?: number; order?: Order } = {}): Health[] {
  let evidence: Evidence = noEvidence
  let health = unknownHealth(0)
  return [...sequence].map((letter, index) => {
    const now = (index + 1) * (options.stepMs ?? 1_000)
    evidence = remember(evidence, { source: 'look', at: now, look: looks[letter]! }, limits)
    health = judge(health, { evidence, order: options.order, now, limits, canary: false })
    return health
  })
}

describe('the state of a node by its answers', () => {
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
    const seen = states('ssss', { stepMs: limits.startingMs / 3 })
    expect(seen.map(({ state }) => state)).toEqual(['starting', 'starting', 'unreachable', 'unreachable'])
  })

  it('says why in words, and since when', () => {
    const seen = states('wssss')
    expect(seen[0]).toMatchObject({ state: 'ready', reasons: [], since: 1_000 })
    expect(seen[4]).toMatchObject({
      state: 'unreachable',
      reasons: ['Lavalink refuses connections, 3 or more times in a row'],
      since: 4_000,
    })
  })

  it('is what was ordered, whatever Lavalink answers', () => {
    const order = { state: 'draining', reason: 'asked to stop' } as const
    expect(states('wsr', { order }).every(({ state, reasons }) => state === 'draining' && reasons[0] === order.reason))
    expect(states('w', { order: { state: 'retired', reason: 'exhausted' } })[0]?.state).toBe('retired')
  })

  it('stays as it is without evidence', () => {
    const before = unknownHealth(7)
    const known = { evidence: noEvidence, order: undefined, now: 10_000_000, limits, canary: true }
    expect(judge(before, known)).toBe(before)
  })
})

/** `n` canary results of one kind, alternating between two tracks, `everyMs` apart. */
function canaries(
  from: number,
  n: number,
  kind: 'loaded' | 'rate' | 'bot' | 'bind' | 'gone' | 'other',
  everyMs = minute,
) {
  return Array.from({ length: n }, (_, index): Recorded => {
    const load = kind === 'loaded' ? ({ kind } as const) : ({ kind: 'failed', class: kind } as const)
    return { source: 'canary', at: from + index * everyMs, track: index % 2 ? 'b' : 'a', load }
  })
}
const outcomes = (at: number, starts: number, rate: number): Recorded => ({
  source: 'outcomes',
  at,
  starts,
  failed: { rate },
})
const planner = (at: number, failing: number): Recorded => ({ source: 'planner', at, failing, size: 16 })
const log = (from: number, n: number, kind: 'rate' | 'bind') =>
  Array.from({ length: n }, (_, index): Recorded => ({ source: 'log', at: from + index, class: kind }))

describe('the state of a node by whether it can play', () => {
  it.each<[string, Recorded[], [NodeState, number][]]>([
    [
      'waits for the first track, and is ready with it',
      canaries(20_000, 1, 'loaded'),
      [
        ['starting', 0],
        ['ready', 20_000],
      ],
    ],
    [
      'does not wait for ever',
      canaries(20_000, 1, 'gone'),
      [
        ['starting', 0],
        ['ready', limits.firstCanaryMs],
      ],
    ],
    [
      'is suspect after three blaming canaries over different tracks, and ready after three good ones',
      [...canaries(0, 1, 'loaded'), ...canaries(minute, 3, 'bot'), ...canaries(5 * minute, 3, 'loaded')],
      [
        ['ready', 0],
        ['suspect', 3 * minute],
        ['ready', 7 * minute],
      ],
    ],
    [
      'is exhausted after 15 min without one success, not before, and not for ever',
      [...canaries(0, 1, 'loaded'), ...canaries(minute, 20, 'rate'), ...canaries(22 * minute, 3, 'loaded')],
      [
        ['ready', 0],
        ['suspect', 3 * minute],
        ['exhausted', 18 * minute],
        ['ready', 24 * minute],
      ],
    ],
    [
      'is not exhausted while a track loads now and then',
      [
        ...canaries(0, 1, 'loaded'),
        ...canaries(minute, 10, 'rate'),
        ...canaries(11 * minute, 1, 'loaded'),
        ...canaries(12 * minute, 10, 'rate'),
        ...canaries(22 * minute, 1, 'loaded'),
        ...canaries(23 * minute, 4, 'rate'),
      ],
      [
        ['ready', 0],
        ['suspect', 3 * minute],
      ],
    ],
    [
      'is misconfigured, not exhausted, when no track ever loaded',
      canaries(0, 30, 'rate'),
      [
        ['starting', 0],
        ['suspect', 2 * minute],
        ['misconfigured', 5 * minute],
      ],
    ],
    [
      'is misconfigured when it cannot bind its addresses',
      [...canaries(0, 1, 'loaded'), ...canaries(minute, 20, 'bind')],
      [
        ['ready', 0],
        ['misconfigured', 2 * minute],
      ],
    ],
    [
      'is misconfigured when the log says so',
      [...canaries(0, 1, 'loaded'), ...log(minute, 3, 'bind')],
      [
        ['ready', 0],
        ['misconfigured', minute + 2],
        ['ready', 6 * minute + 5_000],
      ],
    ],
    [
      'does not care for a video that is gone',
      [...canaries(0, 1, 'loaded'), ...canaries(minute, 9, 'gone')],
      [['ready', 0]],
    ],
    [
      'is suspect when many fail for unknown reasons',
      [...canaries(0, 1, 'loaded'), ...canaries(minute, 6, 'other')],
      [
        ['ready', 0],
        ['suspect', 6 * minute],
      ],
    ],
    [
      'believes the bots from 20 starts on, and forgets with the window',
      [outcomes(0, 19, 0), outcomes(minute, 10, 10), outcomes(2 * minute, 12, 12)],
      [
        ['ready', 0],
        ['suspect', 2 * minute],
        ['ready', 6 * minute + 5_000],
      ],
    ],
    [
      'is suspect when 15 of 16 addresses fail, and ready when 11 do',
      [
        ...canaries(0, 1, 'loaded'),
        planner(minute, 14),
        planner(2 * minute, 15),
        planner(3 * minute, 14),
        planner(4 * minute, 11),
      ],
      [
        ['ready', 0],
        ['suspect', 2 * minute],
        ['ready', 4 * minute],
      ],
    ],
    [
      'is suspect when the log is full of rate limits',
      [...canaries(0, 1, 'loaded'), ...log(minute, 20, 'rate')],
      [
        ['ready', 0],
        ['suspect', minute + 19],
        ['ready', 6 * minute + 5_000],
      ],
    ],
  ])('%s', (_, sequence, expected) => {
    expect(play(sequence).changes).toEqual(expected)
  })

  it('says why as a person would', () => {
    const { health } = play([...canaries(0, 1, 'loaded'), ...canaries(minute, 3, 'bot'), planner(3 * minute, 15)])
    expect(health.reasons).toEqual(['15 of 16 addresses failing', 'canary failed 3 x: not a bot'])
    const bots = play([...canaries(0, 1, 'loaded'), outcomes(minute, 40, 32)], { untilMs: 2 * minute })
    expect(bots.health.reasons).toEqual(['32 of 40 starts failed in 5 min: rate-limited'])
  })

  it('is suspect while overloaded, never exhausted by it, and well again only clearly below the mark', () => {
    const busy = (at: number, systemLoad: number): Recorded => ({ source: 'look', at, look: lookWell({ systemLoad }) })
    const seen = play([
      ...canaries(0, 1, 'loaded'),
      ...Array.from({ length: 400 }, (_, index) => busy(index * 5_000, 0.97)),
      ...Array.from({ length: 10 }, (_, index) => busy((400 + index) * 5_000, 0.9)),
      ...Array.from({ length: 10 }, (_, index) => busy((410 + index) * 5_000, 0.3)),
    ])
    expect(seen.changes.map(([state]) => state)).toEqual(['ready', 'suspect', 'ready'])
    expect(seen.changes.at(-1)?.[1]).toBeGreaterThan(410 * 5_000)
  })

  it('is suspect while its container is unhealthy', () => {
    const seen = play([
      { source: 'container', at: 0, health: 'healthy' },
      ...canaries(0, 1, 'loaded'),
      { source: 'container', at: minute, health: 'unhealthy' },
      { source: 'container', at: 2 * minute, health: 'healthy' },
    ])
    expect(seen.changes).toEqual([
      ['ready', 0],
      ['suspect', minute],
      ['ready', 2 * minute],
    ])
  })

  it('is misconfigured when two probers do not reach its address, and ready when one does', () => {
    const probe = (at: number, reached: boolean): Recorded => ({
      source: 'probe',
      at,
      by: `bot/${at}`,
      reached,
      reason: 'refuses connections',
    })
    const seen = play([...canaries(0, 1, 'loaded'), probe(1, false), probe(minute, false), probe(2 * minute, true)])
    expect(seen.changes).toEqual([
      ['ready', 0],
      ['misconfigured', minute],
      ['ready', 2 * minute],
    ])
  })

  it('is held suspect after it came and went three times, until it stayed well for a while', () => {
    const silent = looks.s!
    const outage = (from: number): Recorded[] =>
      [1, 2, 3].map((n) => ({ source: 'look', at: from + n * 1_000, look: silent }))
    const seen = play([
      ...canaries(0, 1, 'loaded'),
      ...[1, 2, 3].flatMap((n) => outage(n * 20_000)),
      ...canaries(10 * minute, 1, 'loaded'),
    ])
    const seenStates = seen.changes.map(([state]) => state)
    expect(seenStates).toEqual([
      'ready',
      'unreachable',
      'ready',
      'unreachable',
      'ready',
      'unreachable',
      'suspect',
      'ready',
    ])
    const [suspectAt, readyAt] = seen.changes.slice(-2).map(([, at]) => at)
    expect(readyAt! - suspectAt!).toBeGreaterThan(4 * minute)
  })

  it('goes on as exhausted after a restart until a track loads', () => {
    const before: Health = { ...unknownHealth(0), state: 'exhausted', played: true }
    const seen = play([...canaries(10 * minute, 3, 'loaded')], { before })
    expect(seen.changes).toEqual([
      ['exhausted', 0],
      ['ready', 12 * minute],
    ])
  })
})

describe('the pause before the next look', () => {
  const rhythm = { pollMs: 5_000, quickMs: 1_000, refusedMs: 60_000 }
  const at = (state: NodeState, letter: string) => pause({ ...unknownHealth(0), state }, looks[letter], rhythm)

  it('is long while nothing changes and short while something shows', () => {
    expect(at('ready', 'w')).toBe(5_000)
    expect(at('suspect', 'w')).toBe(5_000)
    expect(at('exhausted', 's')).toBe(1_000)
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
