import type { ClientFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { eventually } from '@damon/testkit/eventually'
import type { RunningService } from '@damon/testkit/process'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { buildHouse, type House } from '../src/house.ts'
import { openRaw, type RawClient, type RawOptions } from '../src/raw-client.ts'

const rights = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*']
const payload = new Uint8Array()

let house: House
let hub: RunningService
let url: string
const clients: RawClient[] = []
let count = 0

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub()
  url = hub.ready.url ?? ''
})
afterEach(() => {
  for (const client of clients.splice(0)) client[Symbol.dispose]()
})
afterAll(async () => {
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

async function session(options: Partial<RawOptions> = {}) {
  const credential = await house.credential(url, `bot/h${++count}`, rights)
  const client = await openRaw(url, { ca: credential.ca, ...options })
  clients.push(client)
  return Object.assign(client, { welcome: await client.hello(credential) })
}

function send(number: number, to: string, value: Uint8Array = payload): ClientFrame & { number: number } {
  return { type: 'send', number, again: false, any: false, bytes: true, to, event: 'x', payload: value }
}

test('who has hundreds of writes under way gets the word on each, and is heard afterwards', async () => {
  const client = await session()
  const puts = Array.from({ length: 500 }, (_, id) => client.ask({ type: 'put', id, key: `thing/p${id % 7}`, payload }))
  const revisions = (await Promise.all(puts)).map((word) => (word.type === 'ack' ? (word.revision ?? 0) : 0))
  expect(revisions).toEqual([...revisions].sort((a, b) => a - b))
  client.send({ type: 'ping', t: 7 })
  expect(await client.next('pong')).toMatchObject({ t: 7 })
})

test('who asks for much and reads none of it waits, and then gets all of it', async () => {
  const [hasty, neighbour] = [await session(), await session()]
  await neighbour.ask({ type: 'put', id: 1, key: 'thing/large', payload: new Uint8Array(limits.recordBytes) })
  await eventually(async () =>
    expect(await hasty.ask({ type: 'get', id: 9_999, key: 'thing/large' })).toMatchObject({ entries: [{}] }),
  )
  hasty.ws.pause()
  const lists = Array.from({ length: 600 }, (_, id) => hasty.ask({ type: 'list', id, prefix: 'thing/large' }))
  for (let i = 0; i < 600; i++) hasty.ws.ping()
  for (let number = 1; number <= 50; number++)
    expect(await neighbour.ask(send(number, 'group/nobody'))).toMatchObject({ type: 'ack' })
  hasty.ws.resume()
  for (const { type } of await Promise.all(lists)) expect(type).toBe('records')
  expect(await hasty.ask(send(1, 'group/nobody'))).toMatchObject({ type: 'ack' })
})

test('a message that is six times as long in JSON reaches a reader of JSON', async () => {
  const [sender, reader] = [await session(), await session({ codec: 'json' })]
  const value = new Uint8Array(limits.frameBytes - 100)
  await sender.ask(send(1, `client/${reader.welcome.subject}`, value))
  expect((await reader.next('message')).payload).toHaveLength(value.length)
  await sender.ask(send(2, `client/${reader.welcome.subject}`))
  expect(await reader.next('message')).toMatchObject({ number: 2 })
  expect(reader.frames.map(({ type }) => type)).not.toContain('gap')
})

test('who hangs up in the middle of a hello leaves nothing behind', async () => {
  const asker = await session()
  const credential = await house.credential(url, 'bot/ghost', rights)
  const { identity, token, ca } = credential
  for (let i = 0; i < 60; i++) {
    const ghost = await openRaw(url, { ca })
    const { nonce } = await ghost.next('challenge')
    const proof = await prove(identity!, { nonce, host: 'localhost', jti: readToken(token).jti })
    ghost.send({ type: 'hello', token, proof, groups: ['ghosts'] })
    // Gone before the hub looked, while it verified, and while it asked its store.
    for (let turn = 0; turn < i % 12; turn++) await new Promise(setImmediate)
    ghost[Symbol.dispose]()
  }
  let number = 0
  await eventually(async () => {
    number++
    await asker.ask({
      type: 'request',
      number,
      again: false,
      any: false,
      bytes: false,
      deadline: 1_000,
      quorum: 0,
      to: 'group/ghosts',
      event: 'x',
      payload,
    })
    expect(await asker.next('settled')).toMatchObject({ request: number, tally: {} })
    const settled = asker.frames.filter((frame) => frame.type === 'settled').at(-1)
    expect(settled?.tally).toEqual({})
  })
})
