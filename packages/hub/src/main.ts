import cluster from 'node:cluster'
import { runService } from '@damon/runtime/service'
import { hubConfig } from './config.ts'
import { startPrimary } from './primary.ts'
import { runWorkerProcess } from './worker-process.ts'

if (cluster.isPrimary) await runService({ name: 'hub', config: hubConfig, start: startPrimary })
else await runWorkerProcess()
