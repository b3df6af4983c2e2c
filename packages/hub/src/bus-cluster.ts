import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { decodeBatch } from './batch.ts'
import { type Arrive, type Asked, type Batch, type Bus, BusError, type Member, type Reading } from './bus.ts'
import {
  type CallName,
  type Calls,
  lineBytes,
  type PrimaryMessage,
  receive,
  send,
  sendAppend,
} from './embedded/wire.ts'
import type { Store, StoreEvents } from './store.ts'

/** How long a call to the primary may take, ms. */
const callMs = 1_000

/** What one call reads from the primary's logs, bytes: it serves nobody else meanwhile. */
const readBytes = 1024 * 1024

/** Bus and store of a hub on one machine: the primary keeps both, a Unix socket leads to it. */
export interface ClusterBackbone extends AsyncDisposable {
  readonly bus: Bus
  readonly store: Store
}

class Line {
  readonly #socket: Duplex
  readonly #open = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void; timer: NodeJS.Timeout }
  >()
  #last = 0

  constructor(socket: Duplex) {
    this.#socket = socket
  }

  call<Name extends CallName>(name: Name, ...args: Calls[Name]['args']): Promise<Calls[Name]['result']> {
    return this.#ask(name, (id) => send(this.#socket, { kind: 'call', id, name, args }))
  }

  append(batches: Batch[], freeze: string[], asked: Asked[] = []): Promise<Member[][]> {
    return this.#ask('append', (id) => sendAppend(this.#socket, id, batches, freeze, asked))
  }

  #ask<T>(name: string, write: (id: number) => void): Promise<T> {
    // The calls that a frozen primary does not take time out, but they stay in the socket.
    if (this.#socket.destroyed || this.#socket.writableLength > lineBytes)
      return Promise.reject(new BusError('unavailable'))
    // 32 bits on the line: the number of a call that is long answered is used again.
    const id = (this.#last + 1) >>> 0
    this.#last = id
    return new Promise((resolve, reject) => {
      // A loop that was busy runs its timers before it reads: an answer that is there already counts.
      const timer = setTimeout(() => setImmediate(late), callMs)
      const late = () => {
        if (!this.#open.delete(id)) return
        reject(new BusError('unavailable', new Error(`${name} was not answered within ${callMs} ms.`)))
      }
      this.#open.set(id, { resolve: resolve as (value: never) => void, reject, timer })
      write(id)
    })
  }

  settle(id: number, value: unknown, error: string | undefined): void {
    const open = this.#open.get(id)
    if (!open) return
    this.#open.delete(id)
    clearTimeout(open.timer)
    if (error === undefined) open.resolve(value as never)
    else open.reject(error === 'fenced' ? new BusError('fenced') : new BusError('unavailable', new Error(error)))
  }

  broke(): void {
    for (const { reject, timer } of this.#open.values()) {
      clearTimeout(timer)
      reject(new BusError('unavailable'))
    }
    this.#open.clear()
  }
}

/**
 * Connects this worker to its primary. The line's end is final: the primary is gone, or has cut this worker off.
 * Rejects when it is not admitted.
 */
export function openCluster(path: string, arrive: Arrive, events: StoreEvents): Promise<ClusterBackbone> {
  return joinCluster(connect(path), arrive, events)
}

/** The same on a line that is there. */
export async function joinCluster(socket: Duplex, arrive: Arrive, events: StoreEvents): Promise<ClusterBackbone> {
  const line = new Line(socket)
  let closing = false
  const admitted = await new Promise<{ origin: number; epoch: string }>((resolve, reject) => {
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('The primary did not admit this worker.')))
    receive<PrimaryMessage>(socket, {
      appended: (id) => line.settle(id, [], undefined),
      batch: (channel, bytes, stamp) => arrive(decodeBatch(channel, bytes), stamp),
      value: (message) => {
        if (message.kind === 'result') line.settle(message.id, message.value, message.error)
        else if (message.kind === 'change') events.change(message.change)
        else if (message.kind === 'gone') events.gone(message.sessions)
        else if (message.kind === 'over') events.over(message.sessions)
        else if (message.kind === 'release') events.release(message.session)
        else if (message.kind === 'ended') events.ended(message.origin)
        else if (message.kind === 'admitted') resolve(message)
      },
    })
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    line.broke()
    events.connected(false)
    if (!closing) events.cutOff()
  })
  events.connected(true)
  return {
    bus: {
      origin: admitted.origin,
      append: (batches, freeze, asked) => line.append(batches, freeze, asked),
      forget: (channels) => void line.call('forget', channels).catch(() => undefined),
      async read(ranges, bytes): Promise<Reading> {
        const reading: Reading = { batches: [], missing: [] }
        let rest = ranges
        for (let left = bytes; rest.length > 0 && left > 0; ) {
          const part = await line.call('read', rest, Math.min(left, readBytes))
          for (const { batch, stamp } of part.batches) {
            reading.batches.push({ batch: decodeBatch(batch.channel, batch.bytes), stamp })
            left -= batch.bytes.length
          }
          reading.missing.push(...part.missing)
          rest = part.rest
        }
        reading.missing.push(...rest)
        return reading
      },
      heads: (channels) => line.call('heads', channels),
      subscribe: async (channel) => {
        await line.call('subscribe', channel)
      },
      unsubscribe: (channel) => void line.call('unsubscribe', channel).catch(() => undefined),
    },
    store: {
      epoch: admitted.epoch,
      openSession: (entry) => line.call('openSession', entry),
      join: (session, channel) => line.call('join', session, channel),
      leave: async (session, channel) => void (await line.call('leave', session, channel)),
      endSession: async (session, how) => void (await line.call('endSession', session, how)),
      release: async (session, done) => void (await line.call('release', session, done)),
      takeOver: (entry) => line.call('takeOver', entry),
      fence: async (origin) => void (await line.call('fence', origin)),
      pick: (channel) => line.call('pick', channel),
      pickFor: (request, channel, except) => line.call('pickFor', request, channel, except),
      requests: (session) => line.call('requests', session),
      settled: async (requests) => void (await line.call('settled', requests)),
      absent: (sessions) => line.call('absent', sessions),
      put: (put) => line.call('put', put),
      patch: (owner, key, value) => line.call('patch', owner, key, value),
      drop: (drop) => line.call('drop', drop),
      revision: () => line.call('revision'),
      snapshot: () => line.call('snapshot'),
      // It never is: the primary's disk has what is kept.
      restore: async () => 0,
      renew: () => line.call('renew'),
      sweep: async () => void (await line.call('sweep')),
    },
    async [Symbol.asyncDispose]() {
      closing = true
      if (socket.destroyed) return
      await new Promise<void>((resolve) => {
        socket.once('close', () => resolve())
        socket.end()
        setTimeout(() => socket.destroy(), 100).unref()
      })
    },
  }
}
