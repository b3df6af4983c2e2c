import { compare, isClean } from '@damon/testkit/comparison'
import { Ledger, ownInbox, streamOf } from '@damon/testkit/ledger'
import { Questions } from '@damon/testkit/questions'
import { describe, expect, it } from 'vitest'

const group = 'group/g'
const members: Record<string, string[]> = { [group]: ['b', 'c'], [`any ${group}`]: ['b', 'c'], 'client/bot/b': ['b'] }

/** A sends ten messages to a destination, one a second; B and C receive each a tenth of a second later. */
function books(destination = group) {
  const [a, b, c] = [new Ledger('a'), new Ledger('b'), new Ledger('c')]
  for (let i = 0; i < 10; i++) {
    const entry = a.send(destination, i * 10_000)
    entry.outcome = 'safe'
    for (const receiver of [b, c]) receiver.receive('a', destination, entry.n, i * 10_000 + 100)
  }
  const result = () => compare([a, b, c], (to) => members[to] ?? [])
  const of = (ledger: Ledger) => ledger.received.get(streamOf('a', destination))!
  return { a, b, c, result, of }
}

describe('ledgers that are in order', () => {
  it('are clean, and everything is counted', () => {
    const { result } = books()
    expect(result()).toEqual({
      messages: 10,
      safe: 10,
      delivered: 20,
      toldLost: 0,
      unexplained: [],
      duplicates: [],
      disordered: [],
      late: [],
      impossible: [],
    })
    expect(isClean(result())).toBe(true)
  })

  it('are clean with a message missing whose sender was not promised anything', () => {
    const { a, b, result, of } = books()
    a.sent.get(group)![4]!.outcome = 'perhaps'
    of(b).splice(4, 1)
    expect(isClean(result())).toBe(true)
  })
})

describe('a planted fault is found:', () => {
  it('a message that is missing at one receiver', () => {
    const { c, result, of } = books()
    of(c).splice(4, 1)
    expect(result().unexplained).toEqual(['a > group/g 5 at c, sent at 40000, between 30100 and 50100'])
    expect(isClean(result())).toBe(false)
  })

  it('the last one missing, and all of them', () => {
    const { b, c, result, of } = books()
    of(b).pop()
    c.received.clear()
    expect(result().unexplained).toHaveLength(11)
  })

  it('a message that came twice, at once or much later', () => {
    const { b, result, of } = books()
    of(b).splice(5, 0, { ...of(b)[4]! })
    of(b).push({ n: 1, at: 200_000 })
    expect(result().duplicates).toEqual(['a > group/g 5 at b', 'a > group/g 1 at b'])
  })

  it('two messages that changed places', () => {
    const { b, result, of } = books()
    of(b).splice(3, 2, of(b)[4]!, of(b)[3]!)
    expect(result().disordered).toEqual(['a > group/g 4 at b came after 5'])
    of(b)[4]!.late = true
    expect(result()).toMatchObject({ disordered: [], late: ['a > group/g 4 at b came after 5'] })
  })

  it('a message whose sender was told that it never left, and one that nobody sent', () => {
    const { a, b, result } = books()
    a.sent.get(group)![2]!.outcome = 'never'
    b.receive('a', group, 11, 1)
    b.receive('nobody', group, 1, 1)
    expect(result().impossible).toHaveLength(4)
  })

  it('a message of an earlier page', () => {
    const { a, b, c, result } = books()
    for (const ledger of [a, b, c]) ledger.turn()
    expect(a.send(group, 0).n).toBe(11)
    b.receive('a', group, 10, 1)
    expect(result().impossible).toEqual(['a > group/g 10 at b: not of this time'])
  })

  it('one for any member that two have, or none', () => {
    const { b, c, result, of } = books(`any ${group}`)
    of(b).splice(0, 5)
    of(c).splice(3, 7)
    expect(result().unexplained).toEqual([
      'a > any group/g 4 at no member, sent at 30000',
      'a > any group/g 5 at no member, sent at 40000',
    ])
    expect(result().duplicates).toEqual([])
    of(b).unshift({ n: 2, at: 10_000 })
    expect(result().duplicates).toEqual(['a > any group/g 2 at 2 members'])
  })
})

describe('a loss is explained', () => {
  it('by a gap of at least as many to that destination, told between the messages around it', () => {
    const { b, result, of } = books()
    of(b).splice(4, 2)
    b.gaps.push({ destination: group, count: 2, at: 50_000 })
    expect(result()).toMatchObject({ toldLost: 2, unexplained: [] })
  })

  it('by several gaps, whichever of them is about which of several senders', () => {
    const made = books()
    const [d, e] = [new Ledger('d'), new Ledger('e')]
    const others = [d, e].map((sender) => {
      const entry = sender.send(group, 41_000)
      entry.outcome = 'safe'
      return entry
    })
    expect(others.map(({ n }) => n)).toEqual([1, 1])
    made.of(made.b).splice(4, 1)
    made.c.received.set(streamOf('d', group), [{ n: 1, at: 41_100 }])
    made.c.received.set(streamOf('e', group), [{ n: 1, at: 41_100 }])
    const result = () => compare([d, e, made.a, made.b, made.c], (to) => members[to] ?? [])
    // Of d and e any later word may tell; of a only the first.
    made.b.gaps.push({ destination: group, count: 1, at: 45_000 }, { destination: group, count: 1, at: 90_000 })
    expect(result().unexplained).toHaveLength(1)
    made.b.gaps.push({ destination: group, count: 1, at: 91_000 })
    expect(result()).toMatchObject({ toldLost: 3, unexplained: [] })
  })

  it('by nothing that is about fewer messages, another destination, another time or another receiver', () => {
    for (const [receiver, gap] of [
      ['b', { destination: group, count: 1, at: 50_000 }],
      ['b', { destination: 'all', count: 2, at: 50_000 }],
      ['b', { destination: group, count: 2, at: 20_000 }],
      ['b', { destination: group, count: 2, at: 80_000 }],
      ['c', { destination: group, count: 2, at: 50_000 }],
    ] as const) {
      const made = books()
      made.of(made.b).splice(4, 2)
      made[receiver].gaps.push(gap)
      expect(made.result().unexplained.length).toBeGreaterThan(0)
    }
  })

  it('by a session that did not go on, if the loss was while it was away', () => {
    const { b, result, of } = books()
    of(b).splice(4, 2)
    b.resets.push({ from: 45_000, until: 55_000 })
    expect(result()).toMatchObject({ toldLost: 2, unexplained: [] })
    b.resets[0] = { from: 75_000, until: 78_000 }
    expect(result().unexplained).toHaveLength(2)
  })

  it('of a message for any member by the word to one of them', () => {
    const { b, c, result, of } = books(`any ${group}`)
    of(b).splice(5, 5)
    of(c).splice(0, 6)
    expect(result().unexplained).toHaveLength(1)
    c.gaps.push({ destination: ownInbox, count: 1, at: 50_500 })
    expect(result()).toMatchObject({ toldLost: 1, unexplained: [] })
  })
})

describe('requests', () => {
  it('are wrong when never settled, run twice, answered twice, or answered by somebody who was not asked', () => {
    const questions = new Questions()
    const [open, twice, other, again] = [1, 2, 3, 4].map(() => questions.ask('a', 0)) as [
      string,
      string,
      string,
      string,
    ]
    questions.run(twice, 'b')
    questions.run(twice, 'b')
    questions.settle(twice, ['b'])
    questions.settle(other, ['c'])
    questions.run(again, 'b')
    questions.settle(again, ['b', 'b'])
    expect(questions.wrongs(1_000, 3_000)).toHaveLength(3)
    expect(questions.wrongs(60_000, 3_000)).toEqual([
      `request ${open} of a was never settled`,
      `request ${twice} ran 2 times at b`,
      `request ${other}: c answered without being asked`,
      `request ${again} was answered twice by one receiver`,
    ])
  })
})
