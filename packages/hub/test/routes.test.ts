import { encodeClientFrame } from '@damon/protocol/codec-binary'
import type { SendFrame } from '@damon/protocol/frames'
import fc from 'fast-check'
import { beforeEach, expect, it } from 'vitest'
import { type Publication, SendOrder } from '../src/publisher.ts'
import { Routes } from '../src/routes.ts'
import { messageFrame, unwire } from './frames.ts'

const session = '00000000000000aa'
const subject = 'bot/a'
let routes: Routes

beforeEach(() => {
  const not = () => undefined
  const sender = { acknowledge: not, refuse: not, brake: not, release: not }
  routes = new Routes({ id: session, subject, order: new SendOrder(), ...sender })
})

const frame = (more: Partial<SendFrame> = {}): SendFrame => ({
  type: 'send',
  number: 1,
  again: false,
  any: false,
  bytes: false,
  to: 'group/g',
  event: 'x',
  payload: Buffer.from('p'),
  ...more,
})
const raw = (more?: Partial<SendFrame>) => Buffer.from(encodeClientFrame(frame(more)))
/** The message that a publication makes. */
function made(publication: Publication | undefined) {
  if (!publication) return undefined
  publication.frame.place(3, 4)
  const out = Buffer.alloc(publication.frame.length)
  publication.frame.write(out, 0)
  return { channel: publication.channel, number: publication.number, frame: unwire(out)[0] }
}

it('know only where a checked frame went', () => {
  expect(routes.publicationOf(raw())).toBeUndefined()
  routes.publication(frame())
  expect(routes.publicationOf(raw())).toBeDefined()
  for (const other of [{ to: 'group/h' }, { event: 'y' }, { to: 'group/gx', event: '' }, { to: 'group', event: '/gx' }])
    expect(routes.publicationOf(raw(other))).toBeUndefined()
})

it('leave what is for one member of a group to those who look for one', () => {
  routes.publication(frame())
  expect(routes.publicationOf(raw({ any: true }))).toBeUndefined()
})

it('bring what is for one member to it by the log only: sent again after a crash, it may be for another member', () => {
  const { channel, around } = routes.publicationTo(frame({ any: true }), '00000000000000bb')
  expect({ channel, around }).toEqual({ channel: 'session/00000000000000bb', around: true })
})

it('leave alone what is cut short or something else', () => {
  routes.publication(frame({ payload: Buffer.alloc(0) }))
  const whole = raw({ payload: Buffer.alloc(0) })
  for (let end = 0; end < whole.length; end++) expect(routes.publicationOf(whole.subarray(0, end))).toBeUndefined()
  expect(routes.publicationOf(whole)).toBeDefined()
  for (let type = 0; type < 256; type++) {
    const other = Buffer.from(whole)
    other[0] = type
    if (type !== whole[0]) expect(routes.publicationOf(other)).toBeUndefined()
  }
})

it('make of a frame what is made of it when it is read', () => {
  const flags = { again: fc.boolean(), bytes: fc.boolean() }
  const places = { to: fc.constantFrom('group/g', 'client/b/c', 'all'), event: fc.constantFrom('x', 'y.z') }
  const numbers = fc.record({
    number: fc.nat(0xffffffff),
    ...flags,
    ...places,
    payload: fc.uint8Array({ maxLength: 300 }),
  })
  fc.assert(
    fc.property(fc.array(numbers, { maxLength: 20 }), (sent) => {
      for (const one of sent) {
        const read = made(routes.publication(frame(one)))
        expect(made(routes.publicationOf(raw(one)))).toEqual(read)
        const { to, ...same } = one
        const payload = Buffer.from(one.payload)
        const message = messageFrame({ ...same, to, payload, origin: 3, seq: 4, session, from: subject })
        expect(read).toEqual({ channel: to, number: one.number, frame: message })
      }
    }),
  )
})

it('keep only so many', () => {
  for (let i = 0; i < 1_000; i++) routes.publication(frame({ to: `client/b/c${i}` }))
  expect(routes.publicationOf(raw({ to: 'client/b/c0' }))).toBeUndefined()
  expect(routes.publicationOf(raw({ to: 'client/b/c999' }))).toBeDefined()
})
