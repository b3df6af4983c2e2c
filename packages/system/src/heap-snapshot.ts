import { renameSync } from 'node:fs'
import { setFlagsFromString, writeHeapSnapshot } from 'node:v8'

/**
 * Loaded into a process by `--import`: on SIGUSR2 it writes its heap to HEAP_FOLDER, as PID.heapsnapshot, there at once and
 * whole, with every string in its full length.
 */
setFlagsFromString('--heap-snapshot-string-limit=16777216')
process.on('SIGUSR2', () => {
  const path = `${process.env.HEAP_FOLDER}/${process.pid}.heapsnapshot`
  renameSync(writeHeapSnapshot(`${path}.part`), path)
})
