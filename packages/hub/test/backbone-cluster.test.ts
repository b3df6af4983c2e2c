import { createLogger } from '@damon/runtime/logger'
import { openCluster } from '../src/bus-cluster.ts'
import { openKept } from '../src/embedded/kept.ts'
import { serveEmbedded } from '../src/embedded/server.ts'
import { backboneContract, type TestPlace, testTimes } from './backbone-contract.ts'
import { recorder } from './recorder.ts'
import { requestsContract } from './requests-contract.ts'
import { resumeContract } from './resume-contract.ts'

const openPlace = async (): Promise<TestPlace> => {
  const log = createLogger({ service: 'test', level: 'silent' })
  const server = await serveEmbedded({ kept: openKept(':memory:'), times: testTimes, log })
  return {
    async worker() {
      const record = recorder()
      return { ...record, ...(await openCluster(server.path, record.arrive, record.events)) }
    },
    async bury(worker) {
      server.endWorker(worker.bus.origin)
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

backboneContract(openPlace)
resumeContract(openPlace)
requestsContract(openPlace)
