import type { Arrive } from '../src/bus.ts'
import type { StoreEvents } from '../src/store.ts'
import type { TestWorker } from './backbone-contract.ts'

/** Keeps what a backbone brings. */
export function recorder(): { arrive: Arrive; events: StoreEvents } & Pick<TestWorker, 'batches' | 'changes' | 'gone'> {
  const batches: TestWorker['batches'] = []
  const changes: TestWorker['changes'] = []
  const gone: TestWorker['gone'] = []
  return {
    batches,
    changes,
    gone,
    arrive: (batch, stamp) => batches.push({ batch, stamp }),
    events: {
      change: (change) => changes.push(change),
      gone: (sessions) => gone.push(...sessions),
      ended: () => undefined,
      connected: () => undefined,
      garbled: () => undefined,
      cutOff: () => undefined,
    },
  }
}
