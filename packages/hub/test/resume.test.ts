import type { HubFrame, Position } from '@damon/protocol/frames'
import { eventually } from '@damon/testkit/eventually'
import { beforeEach, describe, expect, it } from 'vitest'
import { everyChannel } from '../src/bus.ts'
import type { Taken } from '../src/store.ts'
import { type AConnection, type AWorker, aWorker } from './a-worker.ts'
import { batchOf, messageFrame, position, verdictFrame, wire } from './frames.ts'
import { turn } from './manual-bus.ts'

const id = '00000000000000cc'
/** Another worker, that has a log. */
const far = 3

let worker: AWorker
/** What the store answers, one after another; the last one again and again. */
let answers: (Taken | Promise<Taken>)[]
let done: number | undefined

beforeEach(async () => {
  worker = await aWorker()
  answers = [{ stamp: 9, heads: [], done: 0, owner: far, lost: undefined, leases: [] }]
  done = undefined
  const { hello } = worker.context.identity
  worker.context.identity.hello = async (...args) => ({ ...(await hello(...args)), subject: 'bot/a' })
  worker.store.takeOver = async () => (answers.length > 1 ? answers.shift() : answers[0]) as Promise<Taken>
  worker.store.release = async (_, settled) => {
    done = settled
  }
})

const taken = (heads: Position[], more: Partial<Extract<Taken, { heads: Position[] }>> = {}): Taken => ({
  ...{ stamp: 9, heads, done: 0, owner: far, lost: undefined, leases: [] },
  ...more,
})
const types = ({ frames }: AConnection) => frames.map(({ type }) => type)
const welcomeOf = ({ frames }: AConnection) =>
  frames.find((frame): frame is Extract<HubFrame, { type: 'welcome' }> => frame.type === 'welcome')
const positions = ({ frames }: AConnection) =>
  frames.flatMap((frame) =>
    frame.type === 'gap'
      ? [`gap ${frame.from}-${frame.until}`]
      : 'seq' in frame && 'session' in frame
        ? [position(frame)]
        : [],
  )
const at = (seq: number, to = 'group/g', origin = far): Position => ({ origin, to, seq })
const storeCalls = () => worker.calls.filter((name) => name === 'takeOver' || name === 'release' || name === 'fence')

type Asked = {
  ticket?: string
  positions?: Position[]
  ack?: { origin: number; seq: number }
  done?: number
  sent?: number
}

/** A client that wants to go on. */
function comesBack({ session = id, ...asked }: Asked & { session?: string } = {}): AConnection {
  const connection = worker.connect()
  const resume = { session, ticket: 't', epoch: 'e1', positions: [], ack: { origin: far, seq: 10 }, done: 0, sent: 0 }
  connection.send({ type: 'hello', token: 't', groups: ['g'], resume: { ...resume, ...asked } })
  return connection
}

/** A client that is here already, and what its welcome said. */
async function isHere(): Promise<{ connection: AConnection; session: string; ticket: string }> {
  const connection = worker.connect()
  connection.hello(['g'])
  await turn()
  const { session = '', ticket = '' } = welcomeOf(connection) ?? {}
  worker.calls.length = 0
  return { connection, session, ticket }
}

const send = (number: number, again = false) =>
  ({
    type: 'send',
    number,
    again,
    any: false,
    bytes: false,
    to: 'group/g',
    event: 'x',
    payload: new Uint8Array(),
  }) as const

describe('what it has missed', () => {
  it('comes from the logs in their order, then what came meanwhile, then what comes', async () => {
    answers = [taken([at(4), at(6, 'all')])]
    const connection = comesBack({ positions: [at(2)] })
    await turn()
    expect(worker.bus.readings[0]?.ranges).toEqual([
      { origin: far, to: 'group/g', from: 3, until: 4 },
      { origin: far, to: 'all', from: 1, until: 6 },
    ])
    // One that the logs have as well, and two that are newer.
    for (const seq of [4, 7]) worker.context.delivery.local(batchOf(far, seq - 1, [seq]))
    worker.context.delivery.local(batchOf(far, 6, [8], { channel: 'all' }))
    worker.bus.readings[0]?.answer([
      { batch: batchOf(far, 2, [3, 4]), stamp: 5 },
      { batch: batchOf(far, 0, [6], { channel: 'all' }), stamp: 6 },
    ])
    await turn()
    worker.context.delivery.local(batchOf(far, 7, [9]))
    await turn()
    expect(positions(connection)).toEqual(['3/3', '3/4', '3/6', '3/7', '3/8', '3/9'])
    expect(welcomeOf(connection)).toMatchObject({
      ...{ resumed: true, session: id, ticket: 't', lapsed: false, done: 0 },
      positions: [at(2), at(0, 'all')],
    })
  })

  it('and the logs do not have, is told before what comes after it', async () => {
    answers = [taken([at(9)])]
    const connection = comesBack({ positions: [at(2)] })
    await turn()
    const range = { origin: far, to: 'group/g' }
    worker.bus.readings[0]?.answer(
      [
        { batch: batchOf(far, 2, [3]), stamp: 5 },
        { batch: batchOf(far, 6, [7]), stamp: 6 },
      ],
      [
        { ...range, from: 4, until: 6 },
        { ...range, from: 8, until: 9 },
      ],
    )
    await turn()
    expect(positions(connection)).toEqual(['3/3', 'gap 4-6', '3/7', 'gap 8-9'])
  })

  it('and is too much to be kept aside, is read from the logs as well', async () => {
    answers = [taken([at(1)])]
    const connection = comesBack()
    await turn()
    const payload = new Uint8Array(1_000)
    for (let seq = 2; seq <= 6; seq++) worker.context.delivery.local(batchOf(far, seq - 1, [seq], { payload }))
    worker.bus.readings[0]?.answer([{ batch: batchOf(far, 0, [1]), stamp: 5 }])
    await turn()
    expect(worker.bus.readings[1]?.ranges).toEqual([{ origin: far, to: 'group/g', from: 2, until: 5 }])
    worker.context.delivery.local(batchOf(far, 6, [7]))
    worker.bus.readings[1]?.answer([2, 3, 4, 5].map((seq) => ({ batch: batchOf(far, seq - 1, [seq]), stamp: seq })))
    await turn()
    expect(positions(connection)).toEqual([1, 2, 3, 4, 5, 6, 7].map((seq) => `3/${seq}`))
  })

  it('waits for a client that reads slowly', async () => {
    answers = [taken([at(8)])]
    const connection = comesBack()
    await turn()
    connection.stall()
    const payload = new Uint8Array(1_500)
    const batches = Array.from({ length: 8 }, (_, i) => ({ batch: batchOf(far, i, [i + 1], { payload }), stamp: i }))
    worker.bus.readings[0]?.answer(batches)
    await turn()
    expect(positions(connection).length).toBeLessThan(8)
    connection.resume()
    await eventually(() => expect(positions(connection)).toEqual(batches.map((_, i) => `3/${i + 1}`)))
  })

  it('is no request that went to those who were there while it was lost', async () => {
    answers = [taken([at(3), at(4, `session/${id}`)], { lost: 6 })]
    const connection = comesBack()
    await turn()
    const request = (seq: number, channel = 'group/g') => batchOf(far, seq - 1, [seq], { kind: 'request', channel })
    worker.bus.readings[0]?.answer([
      { batch: request(1), stamp: 6 },
      { batch: request(2), stamp: 7 },
      { batch: batchOf(far, 2, [3]), stamp: 8 },
      { batch: request(4, `session/${id}`), stamp: 8 },
    ])
    await turn()
    expect(positions(connection)).toEqual(['3/1', '3/3', '3/4'])
    expect(welcomeOf(connection)).toMatchObject({ lapsed: true })
  })
})

describe('what it had sent', () => {
  it('is done as far as the log of its last worker has it, and refused where that has it not', async () => {
    const connection = comesBack({ done: 4, sent: 9 })
    await turn()
    expect(worker.bus.readings[0]?.ranges).toMatchObject([{ origin: far, to: everyChannel, from: 11 }])
    const own = { session: id, origin: far }
    const frames = [
      wire(messageFrame({ ...own, seq: 11, number: 5 })),
      wire(messageFrame({ ...own, seq: 12, number: 8, session: '00000000000000dd' })),
      wire(verdictFrame({ ...own, seq: 13, number: 7 })),
    ]
    const batch = { ...batchOf(far, 10, [11, 13]), bytes: Buffer.concat(frames) }
    worker.bus.readings[0]?.answer([{ batch, stamp: 5 }])
    await turn()
    expect(welcomeOf(connection)).toMatchObject({ resumed: true, done: 7, refused: [6] })
    connection.send(send(8, true))
    await turn()
    worker.bus.appends.at(-1)?.confirm()
    await turn()
    expect(connection.frames.at(-1)).toMatchObject({ type: 'ack', number: 8 })
  })

  it('and cannot be found out makes it a new session, and the old one is lost', async () => {
    const lost: unknown[] = []
    worker.store.endSession = async (session, how) => void lost.push([session, how])
    const connection = comesBack({ done: 4, sent: 5 })
    await turn()
    worker.bus.readings[0]?.answer([], [{ origin: far, to: everyChannel, from: 11, until: 20 }])
    await turn()
    expect(welcomeOf(connection)).toMatchObject({ resumed: false, reason: 'sends_unproved', done: 0 })
    expect(welcomeOf(connection)?.session).not.toBe(id)
    expect(lost).toEqual([[id, 'lost']])
    expect(worker.bus.subscriptions).toContain(`-session/${id}`)
  })

  it('counts on from there: another number than the next ends it', async () => {
    const connection = comesBack({ done: 4, sent: 4 })
    await turn()
    connection.send(send(4))
    await turn()
    expect(connection.closed).toBe(3501)
  })
})

describe('the takeover', () => {
  it('waits until what went to members here is in the log', async () => {
    const { connection } = await isHere()
    connection.send(send(1))
    await turn()
    comesBack()
    await turn()
    expect(storeCalls()).toEqual([])
    worker.bus.appends[0]?.confirm()
    await turn()
    expect(storeCalls()).toEqual(['takeOver'])
  })

  it('of a session whose line here is dead comes after its last frame, and its release', async () => {
    const { connection, session, ticket } = await isHere()
    connection.send(send(1))
    await turn()
    const second = comesBack({ session, ticket })
    await turn()
    expect(connection.closed).toBe(3009)
    expect(storeCalls()).toEqual([])
    worker.bus.appends[0]?.confirm()
    await turn()
    expect(storeCalls()).toEqual(['release', 'takeOver'])
    expect(done).toBe(1)
    expect(welcomeOf(second)).toMatchObject({ resumed: true, session })
  })

  it('is tried again until another worker has released the session', async () => {
    answers = [{ refused: 'busy', owner: far }, { refused: 'busy', owner: far }, taken([])]
    const connection = comesBack()
    await eventually(() => expect(welcomeOf(connection)).toMatchObject({ resumed: true }))
    expect(storeCalls()).toEqual(['takeOver', 'takeOver', 'takeOver'])
  })

  it('ends a worker that does not release the session', async () => {
    let fenced = 0
    answers = [{ refused: 'busy', owner: far }]
    worker.store.fence = async (origin) => {
      fenced = origin
      answers = [taken([])]
    }
    const connection = comesBack()
    await eventually(() => expect(welcomeOf(connection)).toMatchObject({ resumed: true }))
    expect(fenced).toBe(far)
  })

  it('is undone when the line breaks between it and the welcome', async () => {
    const answer = Promise.withResolvers<Taken>()
    answers = [answer.promise]
    const connection = comesBack()
    await turn()
    connection.cut()
    await turn()
    expect(storeCalls()).toEqual(['takeOver'])
    answer.resolve(taken([at(4)]))
    await turn()
    expect(storeCalls()).toEqual(['takeOver', 'release'])
    expect([types(connection), worker.channels(), worker.bus.readings]).toEqual([['challenge'], 0, []])
  })

  it('is undone when the line breaks while the logs are read', async () => {
    answers = [taken([at(4)])]
    const connection = comesBack()
    await turn()
    connection.cut()
    await turn()
    expect(storeCalls()).toEqual(['takeOver', 'release'])
    worker.bus.readings[0]?.answer([{ batch: batchOf(far, 0, [4]), stamp: 5 }])
    await turn()
    expect(positions(connection)).toEqual([])
  })

  it('hangs up when the logs cannot be read, so that it is tried again', async () => {
    answers = [taken([at(4)])]
    const connection = comesBack()
    await turn()
    worker.bus.readings[0]?.fail()
    await turn()
    expect(connection.closed).toBe(3006)
    expect(storeCalls()).toEqual(['takeOver', 'release'])
  })

  it('is not tried when the store was emptied', async () => {
    const connection = worker.connect()
    const resume = {
      session: id,
      ticket: 't',
      epoch: 'e0',
      positions: [],
      ack: { origin: far, seq: 0 },
      done: 0,
      sent: 0,
    }
    connection.send({ type: 'hello', token: 't', resume })
    await turn()
    expect(storeCalls()).toEqual([])
    expect(welcomeOf(connection)).toMatchObject({ resumed: false, reason: 'store_emptied' })
  })
})

describe('another worker', () => {
  it('gets a session that it asks for, once its last frame is in the log', async () => {
    const { connection, session } = await isHere()
    connection.send(send(1))
    await turn()
    worker.context.roster.release(session)
    await turn()
    expect([connection.closed, storeCalls()]).toEqual([3009, []])
    worker.bus.appends[0]?.confirm()
    await turn()
    expect([storeCalls(), done]).toEqual([['release'], 1])
  })

  it('gets at once what nobody here knows of', async () => {
    worker.context.roster.release(id)
    await turn()
    expect(storeCalls()).toEqual(['release'])
  })
})

describe('who has the wrong ticket', () => {
  it('neither ends the session nor hears what goes to it, also by hanging up', async () => {
    answers = [{ refused: 'unknown_session' }]
    const { connection, session } = await isHere()
    const thief = comesBack({ session, ticket: 'stolen' })
    const secret = batchOf(far, 0, [5], { channel: `session/${session}` })
    worker.context.delivery.local(secret)
    await turn()
    worker.context.delivery.local(batchOf(far, 5, [6], { channel: `session/${session}` }))
    await turn()
    expect(welcomeOf(thief)).toMatchObject({ resumed: false, reason: 'unknown_session' })
    expect([positions(thief), positions(connection)]).toEqual([[], ['3/5', '3/6']])

    const waits = Promise.withResolvers<Taken>()
    answers = [waits.promise]
    const hasty = comesBack({ session, ticket: 'stolen' })
    await turn()
    hasty.cut()
    waits.resolve({ refused: 'unknown_session' })
    thief.cut()
    await turn()
    expect(connection.closed).toBeUndefined()
    // What is released is the thief's own new session.
    expect(storeCalls()).toEqual(['takeOver', 'takeOver', 'release'])
    connection.send(send(1))
    await turn()
    worker.bus.appends.at(-1)?.confirm()
    await turn()
    expect(connection.frames.at(-1)).toMatchObject({ type: 'ack', number: 1 })
  })
})
