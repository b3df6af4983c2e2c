import type { Logger } from '@damon/runtime/logger'
import type { Bus } from './bus.ts'
import type { Delivery } from './delivery.ts'
import type { Departures } from './departures.ts'
import type { Identity } from './identity.ts'
import type { Turns } from './intake.ts'
import type { Metrics } from './metrics.ts'
import type { Flusher } from './outbox.ts'
import type { Publisher } from './publisher.ts'
import type { Rates } from './rates.ts'
import type { Readings } from './readings.ts'
import type { Acks } from './receipts.ts'
import type { Replica } from './replica.ts'
import type { Requests } from './requests.ts'
import type { Restraint } from './restraint.ts'
import type { Roster } from './roster.ts'
import type { Store } from './store.ts'
import type { Watches } from './watches.ts'

/** What a worker's sessions and handlers work with. */
export interface Context {
  log: Logger
  metrics: Metrics
  identity: Identity
  bus: Bus
  store: Store
  publisher: Publisher
  delivery: Delivery
  replica: Replica
  watches: Watches
  requests: Requests
  roster: Roster
  departures: Departures
  readings: Readings
  flusher: Flusher
  acks: Acks
  turns: Turns
  rates: Rates
  restraint: Restraint
  settings: {
    heartbeatMs: number
    helloMs: number
    frameBytes: number
    outboxBytes: number
    outboxFrames: number
  }
}
