import type { NodeRecord } from '@damon/protocol/records'
import { expect, test } from 'vitest'
import { NodeAnnouncement, refreshMs } from '../src/announcement.ts'
import { RecordStore } from './record-store.ts'

const record: NodeRecord = {
  state: 'ready',
  reasons: [],
  since: 1,
  address: { host: 'audio.example', port: 2333, secure: false },
  version: '4.2.2',
  api: 'v4',
  load: {
    players: 2,
    playingPlayers: 1,
    systemLoad: 0.2,
    lavalinkLoad: 0.1,
    memoryUsed: 100,
    memoryReservable: 1_000,
    uptime: 5_000,
  },
}
const withLoad = (change: Partial<NonNullable<NodeRecord['load']>>): NodeRecord => ({
  ...record,
  load: { ...record.load!, ...change },
})

function announcement() {
  const store = new RecordStore()
  const problems: unknown[] = []
  const node = new NodeAnnouncement({
    announcer: store,
    id: 'fra1',
    password: 'youshallnotpass',
    onProblem: (problem) => problems.push(problem),
  })
  return { store, problems, node }
}

test('announces the password before the node, and drops the node before the password', async () => {
  const { store, node } = announcement()
  node.show(record, 0)
  expect(store.values.get('node-secret/fra1')).toEqual({ password: 'youshallnotpass' })
  expect(store.values.get('node/fra1')).toEqual(record)
  await node.drop('retired')
  expect(store.values.size).toBe(0)
  expect(store.log).toEqual([
    'put node-secret/fra1',
    'put node/fra1',
    'drop node/fra1',
    'drop node-secret/fra1',
    'because retired',
    'because retired',
  ])
})

test('never shows the password in the node record', () => {
  const { store, node } = announcement()
  node.show(record, 0)
  expect(JSON.stringify(store.values.get('node/fra1'))).not.toContain('youshallnotpass')
})

test.each([
  ['nothing moved', withLoad({ uptime: 10_000 }), false],
  ['the load moved a little', withLoad({ systemLoad: 0.24, lavalinkLoad: 0.06, memoryUsed: 140 }), false],
  ['a player came', withLoad({ players: 3 }), true],
  ['a player stopped', withLoad({ playingPlayers: 0 }), true],
  ['the load moved', withLoad({ systemLoad: 0.26 }), true],
  ['memory filled', withLoad({ memoryUsed: 160 }), true],
  ['Lavalink restarted', withLoad({ uptime: 10 }), true],
  ['the load is not known', { ...record, load: null }, true],
  ['the state changed', { ...record, state: 'draining', reasons: ['asked to stop'] } satisfies NodeRecord, true],
] as const)('when %s, writes only what tells the bots something', (_, next, written) => {
  const { store, node } = announcement()
  node.show(record, 0)
  node.show(next, 5_000)
  expect(store.log.slice(2)).toEqual(written ? ['update node/fra1'] : [])
})

test('writes the figures at least once in the refresh time', () => {
  const { store, node } = announcement()
  node.show(record, 0)
  node.show(record, refreshMs - 1)
  expect(store.log.slice(2)).toEqual([])
  node.show(record, refreshMs)
  expect(store.log.slice(2)).toEqual(['update node/fra1'])
})

test('says what the hub refused, tries again with the next look, and is content once it took it', async () => {
  const { store, problems, node } = announcement()
  node.show(record, 0)
  store.refusal = new Error('The token has no capability for this.')
  node.show(withLoad({ players: 3 }), 1_000)
  await expect.poll(() => node.problem).toBe('The token has no capability for this.')
  expect(problems).toEqual([store.refusal])
  store.refusal = undefined
  node.show(withLoad({ players: 3 }), 2_000)
  await expect.poll(() => node.problem).toBeUndefined()
  expect(store.values.get('node/fra1')).toEqual(withLoad({ players: 3 }))
})

test('tells when the hub does not confirm a drop', async () => {
  const { store, node } = announcement()
  node.show(record, 0)
  store.refusal = new Error('There is no connection to the hub.')
  await expect(node.drop('retired')).rejects.toBe(store.refusal)
})

test('does nothing when a node that was never announced is dropped', async () => {
  const { store, node } = announcement()
  await node.drop('retired')
  expect(store.log).toEqual([])
})
