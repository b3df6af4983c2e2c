import type { Position } from '@damon/protocol/frames'
import { type Batch, type Bus, BusError, type Logged, type Member, type Range, type Reading } from '../src/bus.ts'

/** An append that waits for its outcome. */
export interface PendingAppend {
  batches: Batch[]
  freeze: string[]
  confirm(members?: Member[][]): void
  fail(code?: 'unavailable' | 'fenced'): void
}

/** A reading of logs that waits for its outcome. */
export interface PendingReading {
  ranges: Range[]
  answer(batches: Logged[], missing?: Range[]): void
  fail(): void
}

/** A bus whose appends and subscriptions end as the test says. */
export interface ManualBus extends Bus {
  readonly appends: PendingAppend[]
  readonly readings: PendingReading[]
  /** What it says of where origins stand. */
  standing: Position[]
  /** `+name` and `-name`, in order. */
  readonly subscriptions: string[]
  /** Settles subscriptions from now on; without it they succeed at once. */
  subscribing: (channel: string) => Promise<void>
}

/** Makes one with this origin. */
export function manualBus(origin = 7): ManualBus {
  const appends: PendingAppend[] = []
  const subscriptions: string[] = []
  const readings: PendingReading[] = []
  const bus: ManualBus = {
    origin,
    appends,
    readings,
    standing: [],
    subscriptions,
    subscribing: async () => undefined,
    append(batches, freeze) {
      const { promise, resolve, reject } = Promise.withResolvers<Member[][]>()
      appends.push({
        batches,
        freeze,
        confirm: (members = freeze.map(() => [])) => resolve(members),
        fail: (code = 'unavailable') => reject(new BusError(code)),
      })
      return promise
    },
    heads: async () => bus.standing,
    forget: () => undefined,
    read(ranges) {
      const { promise, resolve, reject } = Promise.withResolvers<Reading>()
      readings.push({
        ranges,
        answer: (batches, missing = []) => resolve({ batches, missing }),
        fail: () => reject(new BusError('unavailable')),
      })
      return promise
    },
    subscribe(channel) {
      subscriptions.push(`+${channel}`)
      return bus.subscribing(channel)
    },
    unsubscribe: (channel) => void subscriptions.push(`-${channel}`),
  }
  return bus
}

/** Lets everything run that is due in this turn of the event loop and in the ticks that it began. */
export async function turn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise(setImmediate)
}
