import { expect, it } from 'vitest'
import { encodeBatch } from '../src/batch.ts'
import { Logs } from '../src/embedded/logs.ts'
import { batchOf } from './frames.ts'

const mebibyte = 1024 * 1024
const bounds = { ms: 60_000, bytes: 3 * mebibyte, allBytes: 5 * mebibyte }
const payload = Buffer.alloc(mebibyte / 4)

/** An origin's frame of a quarter of a mebibyte. */
function append(logs: Logs, origin: number, seq: number, now: number): void {
  const batch = { ...batchOf(origin, seq - 1, [seq]), bytes: payload }
  logs.of(origin)?.append({ channel: batch.channel, bytes: encodeBatch(batch) }, now, now)
}

const range = (origin: number) => ({ origin, to: 'group/g', from: 1, until: 12 })

it('the logs of all workers together are bounded: what is oldest goes first, whoever wrote it, and is told as missing', () => {
  const logs = new Logs(bounds)
  // Workers that crash one after another, each with as much as one may have.
  for (const origin of [1, 2, 3, 4]) {
    logs.open(origin)
    for (let seq = 1; seq <= 12; seq++) append(logs, origin, seq, origin * 100 + seq)
    logs.end(origin, origin * 100 + 50)
    logs.sweep(origin * 100 + 60)
    expect(logs.of(origin)?.bytes).toBeLessThanOrEqual(bounds.bytes)
    expect(logs.bytes).toBeLessThanOrEqual(bounds.allBytes)
  }
  const read = [1, 2, 3, 4].map((origin) => logs.read([range(origin)], 100 * mebibyte))
  expect(read.map(({ batches }) => batches.length > 0)).toEqual([false, false, true, true])
  expect(read.map(({ missing }) => missing.length)).toEqual([1, 1, 1, expect.any(Number)])
  expect(logs.bytes).toBeGreaterThan(bounds.allBytes - mebibyte)
})

it('logs that fit are left as they are', () => {
  const logs = new Logs(bounds)
  logs.open(1)
  for (let seq = 1; seq <= 11; seq++) append(logs, 1, seq, seq)
  const { bytes } = logs
  logs.sweep(20)
  expect(logs.bytes).toBe(bytes)
  expect(logs.read([range(1)], 100 * mebibyte).missing).toEqual([])
})
