import { eventually } from '@damon/testkit/eventually'
import { type RedisCluster, type RedisNode, startRedisCluster } from '@damon/testkit/redis-cluster'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Closing, channels, openReader, openWriter, type Reader } from './bus-ends.ts'

const patience = { deadlineMs: 60_000 }
const anyKey = '{test:}n'

let cluster: RedisCluster
let closing: Closing
let to: Reader
let from: Awaited<ReturnType<typeof openWriter>>

beforeEach(async () => {
  cluster = await startRedisCluster()
  closing = []
  to = await openReader(cluster.url, closing)
  from = await openWriter(cluster.url, closing)
}, 60_000)
afterEach(async () => {
  for (const close of closing.reverse()) await close()
  await cluster[Symbol.asyncDispose]()
}, 60_000)

/** Appends without a pause until `during` is over and some more were confirmed after it. */
async function writeWhile(during: () => Promise<void>): Promise<void> {
  let over = false
  const confirmed = () => channels.reduce((sum, channel) => sum + (from.sent.get(channel)?.length ?? 0), 0)
  const writing = (async () => {
    while (!over) await from.write(3)
  })()
  try {
    await eventually(() => expect(confirmed()).toBeGreaterThan(50), patience)
    await during()
    const before = confirmed()
    await eventually(() => expect(confirmed()).toBeGreaterThan(before + 50), patience)
  } finally {
    over = true
    await writing
  }
}

/** All that was confirmed arrived once and in order, and nothing else but what may have happened. */
async function nothingIsLost(): Promise<void> {
  const refused = new Set(from.refused)
  for (const channel of channels) {
    const got = () => (to.got.get(channel) ?? []).filter((one) => !refused.has(one))
    await eventually(() => expect(got()).toEqual(from.sent.get(channel)), patience)
  }
  expect(await to.holes('unrepaired')).toBe(0)
}

/** Where the connections of the hub lead. */
const clientsOf = async (node: RedisNode) =>
  (await node.command('CLIENT', 'LIST')).match(/name=damon-hub/g)?.length ?? 0

describe('in a cluster', () => {
  it('the slot of the hub moves to another node and back while much is appended, and nothing is lost', {
    timeout: 120_000,
  }, async () => {
    const first = await cluster.ownerOf(anyKey)
    const second = cluster.nodes.find((node) => node !== first) as RedisNode
    expect([await clientsOf(first), await clientsOf(second)]).toEqual([4, 0])
    await writeWhile(() => cluster.move(anyKey, second))
    await nothingIsLost()
    await eventually(async () => expect([await clientsOf(first), await clientsOf(second)]).toEqual([0, 4]), patience)
    await writeWhile(() => cluster.move(anyKey, first))
    await nothingIsLost()
    await eventually(async () => expect(await to.store.renew()).toBe(true), patience)
  })

  it('the node of the hub dies while much is appended, its replica takes its place, and nothing confirmed is lost', {
    timeout: 120_000,
  }, async () => {
    const owner = await cluster.ownerOf(anyKey)
    const replica = await cluster.replicate(owner)
    await writeWhile(async () => {
      await owner.kill()
      await eventually(async () => expect(await replica.command('ROLE')).toMatch(/^master/), patience)
    })
    await nothingIsLost()
    await eventually(() => expect(to.told.at(-1)).toBe('connected'), patience)
    await eventually(async () => expect(await to.store.renew()).toBe(true), patience)
    await eventually(async () => expect(await from.store.renew()).toBe(true), patience)
  })
})
