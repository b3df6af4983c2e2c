import cluster from 'node:cluster'

// A primary and a worker each load what they need alone: every start is quicker, and every process smaller.
if (cluster.isPrimary) {
  const [{ runService }, { hubConfig }, { startPrimary }] = await Promise.all([
    import('@damon/runtime/service'),
    import('./config.ts'),
    import('./primary.ts'),
  ])
  await runService({ name: 'hub', config: hubConfig, start: startPrimary })
} else {
  const { runWorkerProcess } = await import('./worker-process.ts')
  await runWorkerProcess()
}
