import type { Verdict } from '@damon/protocol/frames'
import fc from 'fast-check'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Member, Range } from '../src/bus.ts'
import { createMetrics } from '../src/metrics.ts'
import type { Publication } from '../src/publisher.ts'
import { type Another, type Collecting, Requests } from '../src/requests.ts'
import { WireFrame, WireRun } from '../src/wire-run.ts'
import type { Word } from '../src/word.ts'
import { unwire, verdictFrame, wire } from './frames.ts'
import { turn } from './manual-bus.ts'

const asker = '00000000000000aa'
const receivers = ['b', 'c', 'd'].map((name) => ({ session: name.padStart(16, '0'), subject: `bot/${name}` }))
const [b, c, d] = receivers as [Member, Member, Member]

let registry: Registry
let requests: Requests
/** What the requester heard, in order. */
let heard: string[]
/** The hub's own verdicts on their way through the log. */
let log: WireFrame[]
/** What need not be remembered any more: numbers, and who was picked. */
let settled: unknown[]
let seq = 0

const metric = async (name: string) => registry.getSingleMetricAsString(name)

const requester = {
  id: asker,
  counts: ({ binary }: WireRun) => {
    for (const frame of unwire(binary)) {
      if (frame.type === 'part') heard.push(`${frame.from} part`)
      if (frame.type === 'verdict') heard.push(`${frame.from} ${frame.verdict}`)
    }
  },
  settled: (_: number, tally: Record<string, number>) => void heard.push(`settled ${JSON.stringify(tally)}`),
}

function begin(quorum = 0, deadlineMs = 5_000, more: Partial<Collecting> = {}): void {
  requests.begin(requester, { number: 1, deadlineMs, quorum, channel: 'group/g', ...more })
}
function word({ session }: Member, verdict: Verdict = 'answered'): Word {
  return { origin: 7, seq: ++seq, request: 1, session, verdict }
}
function reply({ session, subject }: Member, verdict: 'answered' | 'failed' = 'answered', request = 1): void {
  const frame = verdictFrame({ session, from: subject, verdict, request, seq: ++seq })
  requests.arrive(asker, new WireFrame(wire(frame)))
}
/** The log brings what the hub said, in order; so it does when the log refused it. */
function flow(): void {
  for (const said of log.splice(0)) requests.arrive(asker, said)
}

beforeEach(() => {
  vi.useFakeTimers()
  heard = []
  log = []
  settled = []
  registry = new Registry()
  requests = new Requests({
    metrics: createMetrics(registry),
    settlements: { add: ({ number, picked }) => settled.push([number, ...picked]) },
    publisher: {
      publish(publication: Publication) {
        publication.frame.place(7, ++seq)
        const bytes = Buffer.alloc(publication.frame.length)
        publication.frame.write(bytes, 0)
        log.push(new WireFrame(bytes))
      },
    },
  })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('a request', () => {
  it('settles with the verdict of the last receiver', () => {
    begin()
    requests.freeze(asker, 1, receivers)
    reply(b)
    reply(c, 'failed')
    expect(heard).toEqual(['bot/b answered', 'bot/c failed'])
    reply(d)
    expect(heard.slice(2)).toEqual(['bot/d answered', 'settled {"answered":2,"failed":1}'])
    expect([requests.size, requests.awaited(), vi.getTimerCount()]).toEqual([0, [], 0])
  })

  it('to nobody settles as soon as that is known', () => {
    begin()
    requests.freeze(asker, 1, [])
    expect(heard).toEqual(['settled {}'])
  })

  it('takes verdicts that came before its receivers were known, and settles once', () => {
    begin()
    for (const member of receivers) reply(member)
    expect(heard).toEqual([])
    requests.freeze(asker, 1, receivers)
    expect(heard.slice(3)).toEqual(['settled {"answered":3}'])
  })

  it('knows of receivers that ended before it knew of them', () => {
    begin()
    requests.gone([b.session, 'ffffffffffffffff'])
    requests.freeze(asker, 1, [b])
    flow()
    expect(heard).toEqual(['bot/b disconnected', 'settled {"disconnected":1}'])
  })

  it('whose deadline has come has a verdict on each receiver', () => {
    begin(0, 5_000)
    requests.freeze(asker, 1, receivers)
    reply(c)
    vi.advanceTimersByTime(5_000)
    flow()
    expect(heard).toEqual(['bot/c answered', 'bot/b timed_out', 'bot/d timed_out', expect.stringMatching('settled')])
  })

  it('settles though the bus loses what the hub says', () => {
    begin(0, 5_000)
    requests.freeze(asker, 1, [b, c])
    requests.gone([b.session])
    log.length = 0
    vi.advanceTimersByTime(5_000)
    log.length = 0
    expect(heard).toEqual([])
    vi.advanceTimersByTime(2_000)
    expect(heard).toEqual(['bot/b disconnected', 'bot/c timed_out', 'settled {"disconnected":1,"timed_out":1}'])
  })

  it('of a requester that ended is forgotten, with all that waits for it', async () => {
    begin()
    requests.freeze(asker, 1, receivers)
    requests.endSession(asker)
    reply(b)
    requests.gone([c.session])
    vi.runAllTimers()
    expect([heard, log, requests.size, requests.awaited()]).toEqual([[], [], 0, []])
    expect(await metric('damon_hub_late_replies_total')).toContain(' 1')
  })

  it('that was never on the bus is forgotten', () => {
    begin()
    requests.abandon(asker, 1)
    requests.freeze(asker, 1, receivers)
    expect([heard, requests.size, requests.count(asker), vi.getTimerCount()]).toEqual([[], 0, 0, 0])
  })
})

describe('the first verdict on a receiver', () => {
  it('counts, and a later one of its own does not', async () => {
    begin()
    requests.freeze(asker, 1, [b, c])
    reply(b)
    reply(b, 'failed')
    expect(heard).toEqual(['bot/b answered'])
    expect(await metric('damon_hub_late_replies_total')).toContain(' 1')
  })

  it("in the log counts, be it the receiver's or the hub's", () => {
    begin()
    requests.freeze(asker, 1, [b, c])
    requests.gone([b.session, c.session])
    reply(b)
    flow()
    reply(c)
    expect(heard).toEqual(['bot/b answered', 'bot/c disconnected', 'settled {"answered":1,"disconnected":1}'])
  })

  it('of somebody who was not asked counts for nothing', () => {
    begin()
    requests.freeze(asker, 1, [b])
    reply(d)
    expect(heard).toEqual([])
  })
})

it('a part is passed on until the verdict, and settles nothing', () => {
  begin()
  requests.freeze(asker, 1, [b])
  const { verdict, code, ...rest } = verdictFrame({ session: b.session, from: b.subject, seq: ++seq })
  const part = new WireFrame(wire({ ...rest, type: 'part' }))
  requests.arrive(asker, part)
  reply(b)
  requests.arrive(asker, part)
  expect(heard).toEqual(['bot/b part', 'bot/b answered', 'settled {"answered":1}'])
})

it('of words that come together those that count are passed on together, and no request settles before its own', async () => {
  const word = (who: Member, request: number, verdict: Verdict = 'answered') =>
    wire(verdictFrame({ session: who.session, from: who.subject, verdict, request, origin: 7, seq: ++seq }))
  const passed: unknown[] = []
  const counting = {
    id: asker,
    counts: ({ binary }: WireRun, range: Range) => void passed.push([unwire(binary).length, range.from, range.until]),
    settled: (number: number) => void passed.push(`settled ${number}`),
  }
  for (const number of [1, 2, 3]) {
    requests.begin(counting, { number, deadlineMs: 5_000, quorum: 0, channel: 'group/g' })
    requests.freeze(asker, number, [b, c])
  }
  const first = seq + 1
  const unreadable = wire(verdictFrame({ verdict: 'answered' }))
  unreadable[2 + 28] = 99
  const words = [word(b, 1), word(b, 2), word(b, 1), word(c, 3), unreadable, word(c, 1), word(c, 2), word(d, 2)]
  requests.arrive(asker, new WireRun(Buffer.concat(words)))
  expect(passed).toEqual([
    [2, first, first + 1],
    [1, first + 3, first + 3],
    [1, first + 4, first + 4],
    'settled 1',
    [1, first + 5, first + 5],
    'settled 2',
  ])
  expect(await metric('damon_hub_late_replies_total')).toContain(' 2')
  expect(await metric('damon_hub_garbled_total')).toContain(' 1')
})

it('a quorum makes the rest not needed, but for an answer that was in the log before', () => {
  begin(1)
  requests.freeze(asker, 1, receivers)
  reply(b, 'failed')
  reply(c)
  reply(d)
  flow()
  expect(heard.slice(0, 3)).toEqual(['bot/b failed', 'bot/c answered', 'bot/d answered'])
  begin(1)
  requests.freeze(asker, 1, receivers)
  reply(c)
  flow()
  expect(heard.slice(4)).toEqual([
    'bot/c answered',
    'bot/b not_needed',
    'bot/d not_needed',
    'settled {"answered":1,"not_needed":2}',
  ])
})

it('a cancelled request has not_needed for those that have not answered', () => {
  begin()
  requests.freeze(asker, 1, receivers)
  reply(b)
  requests.cancel(asker, 1)
  requests.cancel(asker, 2)
  flow()
  expect(heard.slice(1)).toEqual(['bot/c not_needed', 'bot/d not_needed', expect.stringMatching('settled')])
})

it('tells the receivers once when their answers are not needed any more, where the request went', () => {
  const told = () => log.map(({ frame }) => frame).filter(({ type }) => type === 'cancel')
  begin(1)
  requests.freeze(asker, 1, receivers)
  expect(told()).toEqual([])
  reply(b)
  requests.cancel(asker, 1)
  expect(told()).toMatchObject([{ origin: 7, to: 'group/g', session: asker, request: 1 }])
  flow()
  begin(2)
  requests.freeze(asker, 1, [b, c])
  reply(b)
  reply(c)
  requests.cancel(asker, 1)
  expect(told()).toEqual([])
  begin()
  requests.freeze(asker, 1, receivers)
  vi.advanceTimersByTime(5_000)
  expect(told()).toEqual([])
})

describe('an idempotent request to one of a group', () => {
  let asked: string[]
  let others: (Member | undefined)[]
  let another: Another & { failing?: boolean; wait?: Promise<void> }

  beforeEach(() => {
    vi.useRealTimers()
    asked = []
    others = [c, d]
    another = {
      async pick(except) {
        await another.wait
        const next = others.shift()
        expect(except).not.toContain(next?.session)
        return next
      },
      async ask(member) {
        asked.push(member.subject)
        if (another.failing) throw new Error('no')
      },
    }
    begin(0, 5_000, { channel: `session/${b.session}`, picked: b.session, another })
    requests.freeze(asker, 1, [b])
  })

  it('is given to another member when the first is gone, and each has its verdict', async () => {
    requests.gone([b.session])
    flow()
    expect(heard).toEqual(['bot/b disconnected'])
    await turn()
    requests.gone([b.session, c.session])
    flow()
    await turn()
    reply(d)
    expect(asked).toEqual(['bot/c', 'bot/d'])
    expect(heard.slice(1)).toEqual(['bot/c disconnected', 'bot/d answered', 'settled {"disconnected":2,"answered":1}'])
    expect(settled).toEqual([[1, b.session, c.session, d.session]])
  })

  it('settles when nobody else is there', async () => {
    others = []
    requests.gone([b.session])
    flow()
    expect(heard).toEqual(['bot/b disconnected'])
    await turn()
    expect([heard.slice(1), requests.size]).toEqual([['settled {"disconnected":1}'], 0])
  })

  it('is not given to anybody once it was cancelled, and whoever has it is told', async () => {
    const waits = Promise.withResolvers<void>()
    another.wait = waits.promise
    requests.gone([b.session])
    requests.cancel(asker, 1)
    flow()
    waits.resolve()
    await turn()
    expect(asked).toEqual([])
    expect(heard.at(-1)).toMatch('settled')
  })

  it('has an unknown verdict on whom it may not have reached', async () => {
    another.failing = true
    requests.gone([b.session])
    flow()
    await turn()
    flow()
    expect(heard).toEqual(['bot/b disconnected', 'bot/c unknown', 'settled {"disconnected":1,"unknown":1}'])
  })
})

describe('a collection that another worker began', () => {
  const asked = { number: 1, channel: 'group/g', quorum: 0, leftMs: 1_000, receivers, heads: [] }

  it('goes on where the log ends: what is there is not said again, and the rest is waited for', () => {
    requests.restore(requester, asked, [word(b), word(b, 'failed'), word(d, 'failed')], true)
    expect(heard).toEqual([])
    reply(c)
    expect(heard).toEqual(['bot/c answered', 'settled {"answered":2,"failed":1}'])
    expect(settled).toEqual([[1]])
  })

  it('that is complete in the log is settled', () => {
    requests.restore(
      requester,
      asked,
      [b, c, d].map((member) => word(member)),
      true,
    )
    expect(heard).toEqual(['settled {"answered":3}'])
  })

  it('has its deadline, and those that did not answer within it timed out', () => {
    requests.restore(requester, { ...asked, leftMs: -500 }, [word(b)], true)
    vi.advanceTimersByTime(1)
    flow()
    expect(heard).toEqual(['bot/c timed_out', 'bot/d timed_out', 'settled {"answered":1,"timed_out":2}'])
  })

  it('says unknown, never timed out, of whom the log does not tell any more', () => {
    requests.restore(requester, { ...asked, leftMs: -500 }, [word(b)], false)
    flow()
    expect(heard).toEqual(['bot/c unknown', 'bot/d unknown', 'settled {"answered":1,"unknown":2}'])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('whose quorum was reached needs no more', () => {
    requests.restore(requester, { ...asked, quorum: 1 }, [word(c)], true)
    flow()
    expect(heard).toEqual(['bot/b not_needed', 'bot/d not_needed', 'settled {"answered":1,"not_needed":2}'])
  })
})

it('whatever happens in whatever order, there is one verdict per receiver, and then it settles', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom('reply', 'gone', 'absent'), who: fc.nat(7) }),
    fc.record({ kind: fc.constantFrom('freeze', 'flow', 'lose', 'cancel', 'wait'), who: fc.constant(0) }),
  )
  const everybody = Array.from({ length: 8 }, (_, i) => ({ session: `${i}`.padStart(16, '0'), subject: `bot/r${i}` }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.nat(8), fc.nat(3), (steps, count, quorum) => {
      heard = []
      log = []
      const frozen = everybody.slice(0, count)
      begin(quorum, 5_000)
      let isFrozen = false
      const freeze = () => {
        if (!isFrozen) requests.freeze(asker, 1, frozen)
        isFrozen = true
      }
      const does: Record<string, (who: Member) => void> = {
        freeze,
        flow,
        reply: (who) => reply(who),
        gone: ({ session }) => requests.gone([session]),
        absent: ({ session }) => requests.gone([session]),
        lose: () => void log.shift(),
        cancel: () => requests.cancel(asker, 1),
        wait: () => vi.advanceTimersByTime(1_000),
      }
      for (const { kind, who } of steps) does[kind]?.(everybody[who] as Member)
      freeze()
      vi.runAllTimers()
      flow()
      const verdicts = heard.slice(0, -1).map((line) => line.split(' ')[0])
      expect(heard.at(-1)).toMatch('settled')
      expect(verdicts.toSorted()).toEqual(frozen.map(({ subject }) => subject))
      expect([requests.size, requests.awaited(), vi.getTimerCount()]).toEqual([0, [], 0])
    }),
    { numRuns: 500 },
  )
})
