import type { Arrive } from '../src/bus.ts'
import type { StoreEvents } from '../src/store.ts'
import type { TestWorker } from './backbone-contract.ts'

/** Keeps what a backbone brings. */
export function recorder(): { arrive: Arrive; events: StoreEvents } & Omit<
  TestWorker,
  'bus' | 'store' | typeof Symbol.asyncDispose
> {
  const batches: TestWorker['batches'] = []
  const changes: TestWorker['changes'] = []
  const gone: TestWorker['gone'] = []
  const over: TestWorker['over'] = []
  const tails: TestWorker['tails'] = []
  const released: TestWorker['released'] = []
  return {
    batches,
    changes,
    gone,
    over,
    released,
    tails,
    arrive: (batch, stamp) => batches.push({ batch, stamp }),
    events: {
      change: (change) => changes.push(change),
      gone: (sessions) => gone.push(...sessions),
      over: (sessions) => over.push(...sessions),
      release: (session) => released.push(session),
      tails: (told) => tails.push(...told),
      ended: () => undefined,
      connected: () => undefined,
      interrupted: () => undefined,
      garbled: () => undefined,
      cutOff: () => undefined,
    },
  }
}
