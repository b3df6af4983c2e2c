import { Duplex } from 'node:stream'
import { beforeEach, expect, it } from 'vitest'
import { Flusher, Outbox, type OutboxLimit } from '../src/outbox.ts'
import { Tick } from '../src/tick.ts'
import { turn } from './manual-bus.ts'

/** A socket that takes a write only when the test says so. */
class SlowSocket extends Duplex {
  readonly writes: Buffer[] = []
  /** It takes at once. */
  quick = false
  #taken: (() => void) | undefined

  override _write(chunk: Buffer, _: string, taken: () => void): void {
    if (chunk.length > 0) this.writes.push(chunk)
    this.#taken = taken
    if (this.quick) taken()
  }
  override _read(): void {}
  /** The kernel takes what was written last. */
  accept(): void {
    this.#taken?.()
  }
}

let socket: SlowSocket
let told: string[]
let outbox: Outbox
/** What goes along. */
let writes: () => void

function open(limit: OutboxLimit): void {
  // One of an earlier test may still have something to say.
  const own: string[] = []
  told = own
  socket = new SlowSocket({ writableHighWaterMark: 1024 * 1024 })
  outbox = new Outbox({
    socket,
    flusher: new Flusher(new Tick()),
    limit,
    owner: {
      writes: () => writes(),
      slow: () => void own.push('slow'),
      caughtUp: () => void own.push('caught up'),
      drained: () => void own.push('drained'),
      overflow: () => void own.push('overflow'),
    },
  })
}
const bytes = (length: number) => Buffer.alloc(length, 'x')

beforeEach(() => {
  writes = () => undefined
  open({ bytes: 100, frames: 1_000 })
})

it('writes once per tick, whatever the order and kind of frames', async () => {
  outbox.offer(Buffer.from('a'), 1)
  outbox.push(Buffer.from('b'))
  outbox.offer(Buffer.from('c'), 1)
  await turn()
  expect(socket.writes.map(String)).toEqual(['abc'])
})

it('takes along what is added when it is about to write', async () => {
  writes = () => outbox.push(Buffer.from('z'))
  outbox.offer(Buffer.from('a'), 1)
  await turn()
  expect(socket.writes.map(String)).toEqual(['az'])
})

it('refuses beyond its limit until half of it is gone, and says once that it takes frames again', async () => {
  expect([outbox.offer(bytes(60), 1), outbox.offer(bytes(40), 1)]).toEqual([true, true])
  await turn()
  expect([outbox.offer(bytes(1), 1), outbox.full]).toEqual([false, true])
  expect(outbox.offer(Buffer.alloc(0), 1)).toBe(false)
  expect(told).toEqual(['slow'])
  socket.accept()
  await turn()
  expect([told, outbox.full, outbox.pending]).toEqual([['slow', 'drained', 'caught up'], false, 0])
  expect(outbox.offer(bytes(100), 1)).toBe(true)
  await turn()
  socket.accept()
  await turn()
  expect(told.filter((what) => what === 'drained')).toEqual(['drained'])
})

it('says so too when the socket never asked to wait', async () => {
  outbox.offer(bytes(90), 1)
  expect(outbox.offer(bytes(20), 1)).toBe(false)
  await turn()
  expect(socket.writableNeedDrain).toBe(false)
  socket.accept()
  await turn()
  expect(told).toEqual(['slow', 'drained', 'caught up'])
})

it.each([0, 1, 2])(
  'says so too when the kernel has always taken all until now, with writes behind that: %s',
  async (behind) => {
    socket.quick = true
    for (let i = 0; i < 3; i++) {
      outbox.offer(bytes(10), 1)
      await turn()
    }
    socket.quick = false
    for (let i = 0; i <= behind; i++) {
      outbox.offer(bytes(30), 1)
      await turn()
    }
    expect(outbox.offer(bytes(100), 1)).toBe(false)
    socket.quick = true
    socket.accept()
    await turn()
    expect([told, outbox.pending, outbox.pendingFrames]).toEqual([['slow', 'drained', 'caught up'], 0, 0])
    expect(socket.writes).toHaveLength(4 + behind)
  },
)

it('takes one frame however large it is', async () => {
  expect(outbox.offer(bytes(500), 1)).toBe(true)
  expect(outbox.offer(bytes(1), 1)).toBe(false)
})

it('takes frames that must not be dropped up to twice the limit, and then overflows', async () => {
  outbox.offer(bytes(100), 1)
  expect(outbox.offer(bytes(1), 1)).toBe(false)
  outbox.push(bytes(100))
  expect(told).toEqual(['slow'])
  outbox.push(bytes(1))
  expect(told).toEqual(['slow', 'overflow'])
})

it('forgets what a socket that broke will never take', async () => {
  outbox.offer(bytes(60), 1)
  socket.destroy()
  await turn()
  expect([socket.writes, outbox.pending]).toEqual([[], 0])
})

it('counts frames as well as bytes, and forgets those that the kernel has taken', async () => {
  open({ bytes: 1_000, frames: 10 })
  expect(outbox.offer(bytes(6), 6)).toBe(true)
  await turn()
  expect(outbox.offer(bytes(4), 4)).toBe(true)
  await turn()
  expect([outbox.pendingFrames, outbox.offer(bytes(1), 1), outbox.full]).toEqual([10, false, true])
  socket.accept()
  await turn()
  expect([outbox.pendingFrames, outbox.full]).toEqual([4, false])
  socket.accept()
  await turn()
  expect([outbox.pendingFrames, outbox.pending]).toEqual([0, 0])
  outbox.push(bytes(1))
  expect(told).toEqual(['slow', 'drained', 'caught up'])
})

it('overflows by twice as many frames as it may hold', () => {
  open({ bytes: 1_000, frames: 10 })
  for (let i = 0; i < 20; i++) outbox.push(bytes(1))
  expect(told).toEqual([])
  outbox.push(bytes(1))
  expect(told).toEqual(['overflow'])
})

it('says that it is slow from its high-water mark on, once, until half of that is gone', async () => {
  outbox.offer(bytes(26), 1)
  outbox.offer(bytes(24), 1)
  expect(told).toEqual([])
  await turn()
  outbox.offer(bytes(2), 1)
  await turn()
  expect([told, outbox.slow]).toEqual([['slow'], true])
  socket.accept()
  await turn()
  expect([outbox.pending, told]).toEqual([2, ['slow', 'caught up']])
  expect(outbox.slow).toBe(false)
})

it('takes frames again when the kernel took at once what was too much for one turn', async () => {
  socket.quick = true
  outbox.offer(bytes(60), 1)
  expect(outbox.offer(bytes(60), 1)).toBe(false)
  await turn()
  expect(told).toEqual(['slow', 'drained', 'caught up'])
  expect(outbox.offer(bytes(60), 1)).toBe(true)
})
