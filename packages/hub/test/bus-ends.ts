import { Registry } from 'prom-client'
import { openRedis, type RedisBackbone } from '../src/bus-redis.ts'
import { Delivery } from '../src/delivery.ts'
import { createMetrics } from '../src/metrics.ts'
import type { StoreEvents } from '../src/store.ts'
import { batchOf, position, unwire } from './frames.ts'

const times = { graceMs: 5_000, awayMs: 2_000, resumeMs: 60_000 }

/** Channels that every reader reads. */
export const channels = ['group/a', 'group/b', 'group/c']

/** What is to be closed after a test, the last first. */
export type Closing = (() => unknown)[]

/** A worker with a member in every channel. */
export interface Reader extends RedisBackbone {
  told: string[]
  /** Per channel, what its one member got. */
  got: Map<string, string[]>
  holes(result: string): Promise<number>
}

/** Opens one. */
export async function openReader(url: string, closing: Closing): Promise<Reader> {
  const told: string[] = []
  const got = new Map<string, string[]>(channels.map((channel) => [channel, []]))
  const registry = new Registry()
  let delivery: Delivery | undefined
  const events: StoreEvents = {
    change: () => undefined,
    gone: () => undefined,
    over: () => undefined,
    release: () => undefined,
    tails: (tails) => delivery?.behind(tails),
    ended: (origin) => void delivery?.ended(origin),
    interrupted: () => delivery?.interrupted(),
    connected: (ok) => {
      told.push(ok ? 'connected' : 'cut')
      if (ok) delivery?.audit()
    },
    garbled: () => void told.push('garbled'),
    cutOff: () => undefined,
  }
  const backbone = await openRedis(
    { url, prefix: 'test:', times },
    (batch, stamp) => delivery?.arrive(batch, stamp),
    events,
  )
  const faults = { hole: () => undefined, gap: () => undefined, garbled: () => void told.push('garbled') }
  delivery = new Delivery({ bus: backbone.bus, metrics: createMetrics(registry), faults })
  const { store } = backbone
  for (const channel of channels) {
    const list = got.get(channel) ?? []
    const member = {
      deliver: (run: { binary: Buffer }) => void list.push(...unwire(run.binary).map(position)),
      ask: () => undefined,
      answer: () => undefined,
      gap: ({ from, until }: { from: number; until: number }) => void list.push(`gap ${from}-${until}`),
    }
    await delivery.add(channel, member)
    const joined = await store.openSession({ session: channel, subject: 'bot/a', channels: [channel] })
    delivery.confirm(channel, member, joined)
  }
  closing.push(
    () => delivery.stop(),
    () => backbone[Symbol.asyncDispose](),
  )
  const holes = async (result: string) => {
    const text = await registry.getSingleMetricAsString('damon_hub_holes_total')
    return Number(new RegExp(`result="${result}"} (\\d+)`).exec(text)?.[1] ?? 0)
  }
  return { ...backbone, told, got, holes }
}

/** A worker that appends numbers on all channels in turn; what each channel must have got is in `sent`. */
export async function openWriter(url: string, closing: Closing) {
  const nothing = () => undefined
  const events = { change: nothing, gone: nothing, over: nothing, release: nothing, tails: nothing, ended: nothing }
  const more = { interrupted: nothing, connected: nothing, garbled: nothing, cutOff: nothing }
  const backbone = await openRedis({ url, prefix: 'test:', times }, nothing, { ...events, ...more })
  closing.push(() => backbone[Symbol.asyncDispose]())
  const sent = new Map<string, string[]>(channels.map((channel) => [channel, []]))
  const last = new Map<string, number>()
  /** What was not confirmed. */
  const refused: string[] = []
  let seq = 0
  const { bus, store } = backbone
  return {
    origin: bus.origin,
    store,
    sent,
    refused,
    async write(count: number, bytes = 10, to = channels) {
      const payload = new Uint8Array(bytes)
      for (let i = 0; i < count; i++) {
        const channel = to[i % to.length] ?? ''
        const batch = batchOf(bus.origin, last.get(channel) ?? 0, [++seq], { channel, payload })
        last.set(channel, seq)
        const name = `${bus.origin}/${seq}`
        await bus.append([batch], []).then(
          () => sent.get(channel)?.push(name),
          () => refused.push(name),
        )
      }
    },
  }
}
