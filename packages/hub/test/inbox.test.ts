import type { ClientFrame } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import { beforeEach, expect, it } from 'vitest'
import { Inbox } from '../src/inbox.ts'
import { turn } from './manual-bus.ts'

let log: string[]
let pending: (() => void)[]
let slow: boolean
let inbox: Inbox

beforeEach(() => {
  log = []
  pending = []
  slow = true
  const source = { pause: () => log.push('pause'), resume: () => log.push('resume') }
  inbox = new Inbox(source, {
    handle(frame) {
      log.push(String(frame.type === 'ping' && frame.t))
      return slow ? new Promise<void>((resolve) => pending.push(resolve)) : undefined
    },
    crowded: () => log.push('overflow'),
  })
})

const frame = (t: number): ClientFrame => ({ type: 'ping', t })
async function finish(): Promise<void> {
  pending.shift()?.()
  await turn()
}

it('handles frames at once where none has to wait', () => {
  slow = false
  for (const t of [1, 2, 3]) inbox.take(frame(t))
  expect(log).toEqual(['1', '2', '3'])
})

it('handles one after another where each takes its time', async () => {
  for (const t of [1, 2, 3]) inbox.take(frame(t))
  expect(log).toEqual(['1'])
  await finish()
  expect(log).toEqual(['1', '2'])
  await finish()
  await finish()
  expect([log, inbox.busy]).toEqual([['1', '2', '3'], false])
})

it.each([true, false])(
  'reads no further while many wait, and again when none does (the last takes time: %s)',
  async (last) => {
    for (let t = 0; t <= 70; t++) inbox.take(frame(t))
    expect([log.at(-1), inbox.paused]).toEqual(['pause', true])
    for (let t = 0; t < 70; t++) await finish()
    expect(log).not.toContain('resume')
    if (!last) slow = false
    await finish()
    expect([log.at(-1), inbox.paused]).toEqual(['resume', false])
  },
)

it('bounds what waits', () => {
  for (let t = 0; t <= limits.pendingFrames; t++) inbox.take(frame(t))
  expect(log).not.toContain('overflow')
  inbox.take(frame(0))
  expect(log.at(-1)).toBe('overflow')
})

it('forgets what waits when it is closed', async () => {
  for (const t of [1, 2]) inbox.take(frame(t))
  inbox.close()
  inbox.take(frame(3))
  await finish()
  expect(log).toEqual(['1'])
})
