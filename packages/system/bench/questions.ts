import type { Question } from './question.ts'
import { connectStorm, connectStormTls, idlePlain, idleTls } from './questions/connections.ts'
import { direct, latency } from './questions/direct.ts'
import { fanOutSingle, fanOutTls, fanOutTo200, fanOutTo1000 } from './questions/fan-out.ts'
import { connections, groupSize, growthNeighbours, growthReceivers } from './questions/growth.ts'
import { manyToMany } from './questions/many-to-many.ts'
import { request } from './questions/request.ts'
import { stuckReader } from './questions/stuck-reader.ts'
import { twoWorkersDirect, twoWorkersFanOut, twoWorkersLatency } from './questions/two-workers.ts'

/** All questions, in the order of the table. */
export const questions: readonly Question[] = [
  fanOutTo200,
  fanOutTo1000,
  fanOutSingle,
  fanOutTls,
  manyToMany,
  direct,
  latency,
  request,
  twoWorkersFanOut,
  twoWorkersDirect,
  twoWorkersLatency,
  connectStorm,
  connectStormTls,
  idlePlain,
  idleTls,
  growthReceivers,
  growthNeighbours,
  stuckReader,
  connections,
  groupSize,
]
