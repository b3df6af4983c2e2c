import { Duplex } from 'node:stream'
import { beforeEach, expect, it } from 'vitest'
import { Flusher, Outbox } from '../src/outbox.ts'
import { Tick } from '../src/tick.ts'
import { turn } from './manual-bus.ts'

/** A socket that takes a write only when the test says so. */
class SlowSocket extends Duplex {
  readonly writes: Buffer[] = []
  #taken: (() => void) | undefined

  override _write(chunk: Buffer, _: string, taken: () => void): void {
    this.writes.push(chunk)
    this.#taken = taken
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

function open(limit: number): void {
  socket = new SlowSocket({ writableHighWaterMark: 1024 * 1024 })
  outbox = new Outbox({
    socket,
    flusher: new Flusher(new Tick()),
    limit,
    owner: {
      writes: () => writes(),
      drained: () => void told.push('drained'),
      overflow: () => void told.push('overflow'),
    },
  })
}
const bytes = (length: number) => Buffer.alloc(length, 'x')

beforeEach(() => {
  told = []
  writes = () => undefined
  open(100)
})

it('writes once per tick, whatever the order and kind of frames', async () => {
  outbox.offer(Buffer.from('a'))
  outbox.push(Buffer.from('b'))
  outbox.offer(Buffer.from('c'))
  await turn()
  expect(socket.writes.map(String)).toEqual(['abc'])
})

it('takes along what is added when it is about to write', async () => {
  writes = () => outbox.push(Buffer.from('z'))
  outbox.offer(Buffer.from('a'))
  await turn()
  expect(socket.writes.map(String)).toEqual(['az'])
})

it('refuses beyond its limit until half of it is gone, and says once that it takes frames again', async () => {
  expect([outbox.offer(bytes(60)), outbox.offer(bytes(40))]).toEqual([true, true])
  await turn()
  expect([outbox.offer(bytes(1)), outbox.full]).toEqual([false, true])
  expect(outbox.offer(Buffer.alloc(0))).toBe(false)
  expect(told).toEqual([])
  socket.accept()
  await turn()
  expect([told, outbox.full, outbox.pending]).toEqual([['drained'], false, 0])
  expect(outbox.offer(bytes(100))).toBe(true)
  await turn()
  socket.accept()
  await turn()
  expect(told).toEqual(['drained'])
})

it('says so too when the socket never asked to wait', async () => {
  outbox.offer(bytes(90))
  expect(outbox.offer(bytes(20))).toBe(false)
  await turn()
  expect(socket.writableNeedDrain).toBe(false)
  socket.accept()
  await turn()
  expect(told).toEqual(['drained'])
})

it('takes one frame however large it is', async () => {
  expect(outbox.offer(bytes(500))).toBe(true)
  expect(outbox.offer(bytes(1))).toBe(false)
})

it('takes frames that must not be dropped up to twice the limit, and then overflows', async () => {
  outbox.offer(bytes(100))
  expect(outbox.offer(bytes(1))).toBe(false)
  outbox.push(bytes(100))
  expect(told).toEqual([])
  outbox.push(bytes(1))
  expect(told).toEqual(['overflow'])
})

it('forgets what a socket that broke will never take', async () => {
  outbox.offer(bytes(60))
  socket.destroy()
  await turn()
  expect([socket.writes, outbox.pending]).toEqual([[], 0])
})
