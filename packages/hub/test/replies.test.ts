import { encodeClientFrame } from '@damon/protocol/codec-binary'
import { type ReplyFrame, replyVerdicts } from '@damon/protocol/frames'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Publication, SendOrder } from '../src/publisher.ts'
import { Replies } from '../src/replies.ts'
import { readWord } from '../src/word.ts'
import { payloadAt } from '../src/ws-frame.ts'
import { unwire, verdictFrame, wire } from './frames.ts'

const session = '00000000000000aa'
const subject = 'bot/a'
const not = () => undefined
const replies = new Replies({
  id: session,
  subject,
  order: new SendOrder(),
  ...{ acknowledge: not, refuse: not, brake: not, release: not },
})

/** Not at the beginning of what the socket brought. */
const publicationOf = (frame: Buffer) =>
  replies.publicationOf(Buffer.concat([Buffer.from('...'), frame, Buffer.from('.')]), 3, 3 + frame.length)

const raw = (more: Partial<ReplyFrame> = {}) =>
  Buffer.from(
    encodeClientFrame({
      type: 'reply',
      number: 1,
      again: false,
      bytes: false,
      session: '00000000000000bb',
      request: 1,
      verdict: 'answered',
      code: '',
      payload: new Uint8Array(),
      ...more,
    }),
  )

function made({ frame, channel, number }: Publication) {
  frame.place(3, 4)
  const out = Buffer.alloc(frame.length)
  frame.write(out, 0)
  return { channel, number, out }
}

const said = fc.record({
  number: fc.nat(0xffffffff),
  again: fc.boolean(),
  bytes: fc.boolean(),
  session: fc.constantFrom('00000000000000bb', 'ffeeddccbbaa9988'),
  request: fc.nat(0xffffffff),
  verdict: fc.constantFrom(...replyVerdicts),
  payload: fc.uint8Array({ maxLength: 300 }),
})

it('become the verdicts that are made of them when they are read', () => {
  fc.assert(
    fc.property(fc.array(said, { minLength: 1, maxLength: 10 }), (all) => {
      for (const one of all) {
        const publication = publicationOf(raw(one))
        expect([replies.asker, replies.request]).toEqual([one.session, one.request])
        const { channel, number, out } = made(publication as Publication)
        expect([channel, number]).toEqual([`session/${one.session}`, one.number])
        const payload = Buffer.from(one.payload)
        const verdict = verdictFrame({ ...one, payload, origin: 3, seq: 4, session, from: subject })
        expect(out.equals(wire(verdict))).toBe(true)
        expect(unwire(out)).toEqual([verdict])
        expect(readWord(out, payloadAt(out))).toEqual({
          ...{ origin: 3, seq: 4, request: one.request, session, verdict: one.verdict },
        })
      }
    }),
  )
})

it('are read where they have a code, are cut short or are no replies', () => {
  const whole = raw()
  for (let end = 0; end < whole.length; end++) expect(publicationOf(whole.subarray(0, end))).toBeUndefined()
  expect(publicationOf(raw({ verdict: 'failed', code: 'bad_node' }))).toBeUndefined()
  for (let type = 0; type < 256; type++) {
    const other = Buffer.from(whole)
    other[0] = type
    if (type !== whole[0]) expect(publicationOf(other)).toBeUndefined()
  }
  for (let verdict = replyVerdicts.length; verdict < 256; verdict++) {
    const other = Buffer.from(whole)
    other[6] = verdict
    expect(publicationOf(other)).toBeUndefined()
  }
  expect(publicationOf(whole)).toBeDefined()
})

it('leave words alone that are cut short', () => {
  const word = wire(verdictFrame({ from: '' }))
  const at = payloadAt(word)
  for (let end = 0; end < word.length; end++) expect(readWord(word.subarray(0, end), at)).toBeUndefined()
  expect(readWord(word, at)).toBeDefined()
})
