import { parseCapabilities } from '@damon/trust/capabilities'
import { beforeEach, expect, it } from 'vitest'
import type { Identified } from '../src/identity.ts'
import { type AConnection, type AWorker, aWorker } from './a-worker.ts'
import { turn } from './manual-bus.ts'

const id = '00000000000000aa'
const who = {
  subject: 'bot/a',
  expires: Date.now() + 3_600_000,
  jti: 't',
  issued: 0,
  issuer: 'i',
  rate: undefined,
  key: 'k',
}
let worker: AWorker
let dropped: unknown[]

const may = (...can: string[]): Identified => ({ ...who, rights: parseCapabilities(can, 'bot/a') })
const answers = ({ frames }: AConnection) => frames.filter(({ type }) => type === 'ack' || type === 'error')
const welcome = ({ frames }: AConnection) => frames.find(({ type }) => type === 'welcome')

beforeEach(async () => {
  worker = await aWorker()
  dropped = []
  worker.store.drop = async (drop) => {
    dropped.push(drop)
    return { revision: 2, generation: 1 }
  }
})

async function comesBack(identified: Identified): Promise<AConnection> {
  const leases = ['thing/mine', 'other/mine', `service/bot/a/${id}`]
  worker.context.identity.hello = async () => identified
  worker.store.takeOver = async () => ({ stamp: 9, heads: [], done: 0, owner: 3, lost: undefined, leases })
  const connection = worker.connect()
  const resume = { session: id, ticket: 't', epoch: 'e1', positions: [], ack: { origin: 3, seq: 10 }, done: 0, sent: 0 }
  connection.send({ type: 'hello', token: 't', groups: [], resume })
  await turn()
  return connection
}

it('what a session leased and may not write when it comes back is dropped, and its client told to put again what it may', async () => {
  const connection = await comesBack(may('put:thing/*'))
  expect(dropped).toEqual([{ owner: id, subject: '', key: 'other/mine', reason: 'denied' }])
  expect(welcome(connection)).toMatchObject({ resumed: true, lapsed: true })
  expect([...connection.session.leases]).toEqual(['thing/mine'])
})

it('a session that may all that it might comes back as it was', async () => {
  const connection = await comesBack(may('put:*'))
  expect(dropped).toEqual([])
  expect(welcome(connection)).toMatchObject({ resumed: true, lapsed: false })
  expect([...connection.session.leases]).toEqual(['thing/mine', 'other/mine'])
})

it('what a new token does not allow to write any more is dropped', async () => {
  const connection = await comesBack(may('put:*'))
  worker.context.identity.renew = async () => may('put:other/*')
  connection.send({ type: 'auth', id: 1, token: 't' })
  await turn()
  expect(dropped).toEqual([{ owner: id, subject: '', key: 'thing/mine', reason: 'denied' }])
  expect(answers(connection)).toMatchObject([{ type: 'ack', id: 1 }])
})

it('a store that does not answer keeps a new token from counting', async () => {
  const connection = await comesBack(may('put:*'))
  worker.context.identity.renew = async () => may('put:other/*')
  worker.store.drop = async () => Promise.reject(new Error('No answer.'))
  connection.send({ type: 'auth', id: 1, token: 't' })
  await turn()
  expect(answers(connection)).toMatchObject([{ type: 'error', id: 1, code: 'unavailable' }])
  expect(connection.session.identified.rights.may('put', 'thing/mine')).toBe(true)
})
