import type { DialectName, Endpoint } from '../work.ts'
import type { Dialect } from './dialect.ts'
import { damon } from './dialect-damon.ts'
import { json } from './dialect-json.ts'
import { nats } from './dialect-nats.ts'
import { socketIo } from './dialect-socket-io.ts'

const dialects: Record<DialectName, (endpoint: Endpoint) => Dialect> = { damon, nats, 'socket-io': socketIo, json }

/** The dialect of an endpoint. */
export function dialectOf(endpoint: Endpoint): Dialect {
  return dialects[endpoint.dialect](endpoint)
}
