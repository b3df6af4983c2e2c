import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type FleetNode, mayRetire, type Slot } from '../src/budget.ts'
import { defaultThresholds as limits } from '../src/thresholds.ts'

/** `r` ready, `s` suspect, `e` exhausted, `u` unreachable, `d` draining, in upper case when the sidecar is away; named a, b, c. */
function fleet(letters: string, playing: number[] = []): FleetNode[] {
  const states = { r: 'ready', s: 'suspect', e: 'exhausted', u: 'unreachable', d: 'draining' } as const
  return [...letters].map((letter, index) => ({
    id: String.fromCharCode(97 + index),
    state: states[letter.toLowerCase() as keyof typeof states],
    playing: playing[index] ?? 0,
    live: letter === letter.toLowerCase(),
  }))
}
const slot = (node: string, until = 1_000): Slot => ({ node, sidecar: `sidecar/${node}`, until })
const ask = (node: string, nodes: FleetNode[], held: Slot[] = [], patient = true) =>
  mayRetire(slot(node), nodes, held, { now: 500, limits, patient })

describe('a spent node may retire', () => {
  it.each<[string, string, Slot[]]>([
    ['when another is ready', 'er', []],
    ['when the only other one that drains is gone', 'errr', [slot('x')]],
    ['when the slot of the other has lapsed', 'edrr', [slot('b', 500)]],
    ['when it holds a slot already, as after a restart', 'er', [slot('a')]],
    ['when a quarter allows two', 'edrrrrrr', [slot('b')]],
  ])('%s', (_, letters, held) => {
    const permission = ask('a', fleet(letters), held)
    expect(permission).toMatchObject({ granted: true })
    if (permission.granted) expect(permission.slots.filter(({ node }) => node === 'a')).toEqual([slot('a')])
  })
})

describe('a spent node must not retire', () => {
  it.each<[string, string, Slot[], RegExp]>([
    ['alone', 'e', [], /no other node is ready/],
    ['when the others are not ready', 'euu', [], /no other node is ready/],
    ['when the only ready one is without its sidecar', 'eR', [], /no other node is ready/],
    ['when the only ready one is to drain', 'er', [slot('b')], /no other node is ready/],
    ['while one of seven drains', 'edrrrrr', [slot('b')], /1 of at most 1/],
    ['when half of the fleet is in trouble', 'essrrr', [], /3 of 6 nodes are in trouble together/],
  ])('%s', (_, letters, held, why) => {
    expect(ask('a', fleet(letters), held)).toMatchObject({ granted: false, why: expect.stringMatching(why) })
  })

  it('before an emptier one, unless that takes too long', () => {
    const nodes = fleet('eerrrrr', [5, 2])
    expect(ask('a', nodes)).toMatchObject({ granted: false, why: 'b is emptier and goes first' })
    expect(ask('b', nodes)).toMatchObject({ granted: true })
    expect(ask('a', nodes, [], false)).toMatchObject({ granted: true })
    expect(ask('a', fleet('eErrrrr', [5, 2]))).toMatchObject({ granted: true })
  })
})

it('the brake needs three nodes and more than 45 %', () => {
  expect(ask('a', fleet('esrr'))).toMatchObject({ granted: true })
  expect(ask('a', fleet('essrrrr'))).toMatchObject({ granted: true })
  expect(ask('a', fleet('esssrrrr'))).toMatchObject({ granted: false })
})

it('whoever asks in whatever order, never more drain than the budget allows, and one ready node stays', () => {
  const nodes = fc.array(fc.constantFrom('r', 'r', 'r', 's', 'e', 'e', 'u'), { minLength: 1, maxLength: 24 })
  fc.assert(
    fc.property(nodes, fc.array(fc.nat(23), { maxLength: 60 }), (letters, order) => {
      const all = fleet(letters.join(''))
      let held: Slot[] = []
      for (const index of order) {
        const node = all[index % all.length]!
        if (node.state !== 'exhausted') continue
        const permission = ask(node.id, all, held, false)
        if (permission.granted) held = permission.slots
      }
      expect(held.length).toBeLessThanOrEqual(Math.max(1, Math.floor(all.length * limits.drainShare)))
      if (held.length > 0)
        expect(all.some(({ id, state }) => state === 'ready' && !held.some(({ node }) => node === id))).toBe(true)
    }),
  )
})
