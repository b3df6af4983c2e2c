import { expect, test } from 'vitest'
import { type Candidate, rank, weights } from '../../src/lavalink/pick.ts'

const node = (name: string, more: Partial<Candidate> = {}): Candidate => ({
  ...{ name, grade: 0, players: 0, systemLoad: 0, memory: 0.3, pingMs: 10 },
  ...more,
})
const best = (candidates: Candidate[], wish = {}, regions = {}) => rank(candidates, wish, regions)[0]?.name

test.each<[string, Partial<Candidate>, Partial<Candidate>]>([
  ['fewer players', { players: 1 }, { players: 8 }],
  ['a cooler machine', { players: 5, systemLoad: 0.2 }, { systemLoad: 0.9 }],
  ['room in its memory', { players: 20 }, { memory: 0.95 }],
  ['a shorter way to Discord', { pingMs: 15 }, { pingMs: 150 }],
  ['a lower grade, whatever else', { players: 500, systemLoad: 1, memory: 1 }, { grade: 1 }],
  ['a known short way before an unknown one', { pingMs: 5 }, { pingMs: undefined, players: 1 }],
])('a node with %s is chosen', (_why, better, worse) => {
  for (const guild of ['1', '22', '333', '4444']) {
    expect(best([node('worse', worse), node('better', better)], { guild })).toBe('better')
    expect(best([node('better', better), node('worse', worse)], { guild })).toBe('better')
  }
})

test('the region of the voice server draws, by its own name or by those that are near', () => {
  const nodes = [node('far', { region: 'syd1' }), node('near', { region: 'fra1', players: 5 })]
  expect(best(nodes)).toBe('far')
  expect(best(nodes, { region: 'fra1' })).toBe('near')
  expect(best(nodes, { region: 'rotterdam' }, { rotterdam: ['ams3', 'fra1'] })).toBe('near')
  expect(best([node('near', { region: 'fra1', players: 50 }), nodes[0]!], { region: 'fra1' })).toBe('far')
})

test('guilds that come at the same moment spread over nodes that are alike, and each finds the same node again', () => {
  const nodes = ['a', 'b', 'c'].map((name) => node(name))
  const chosen = Array.from({ length: 300 }, (_, guild) => best(nodes, { guild: String(guild) })!)
  for (const { name } of nodes) expect(chosen.filter((one) => one === name).length).toBeGreaterThan(60)
  expect(Array.from({ length: 300 }, (_, guild) => best(nodes, { guild: String(guild) }))).toEqual(chosen)
  expect(best([node('a', { players: weights.scatter + 1 }), node('b')], { guild: '7' })).toBe('b')
})

test('a load average that is none counts as a machine that is full, not as a thousand', () => {
  expect(best([node('nodelink', { systemLoad: 3.4 }), node('full', { systemLoad: 1, players: 10 })])).toBe('nodelink')
})
