import cluster from 'node:cluster'
import { setFlagsFromString } from 'node:v8'
import { runService } from '@damon/runtime/service'
import { hubConfig } from './config.ts'
import { startPrimary } from './primary.ts'
import { runWorkerProcess } from './worker-process.ts'

// What workers.ts says of the space of young objects, for a process that was started without: it does not grow.
if (cluster.isPrimary) setFlagsFromString('--semi-space-growth-factor=1')
if (cluster.isPrimary) await runService({ name: 'hub', config: hubConfig, start: startPrimary })
else await runWorkerProcess()
