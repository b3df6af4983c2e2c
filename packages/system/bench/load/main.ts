import type { Measured, Task } from '../work.ts'
import { arrivals, crowded, hold, idle } from './arrivals.ts'
import { flow } from './flow.ts'
import { paced, pacedGroup, stuckReader } from './paced.ts'
import { requests } from './requests.ts'

/** What the load generator tells its parent, once. */
export type Outcome = { measured: Measured } | { error: string }

function perform(task: Task): Promise<Measured> {
  const { work } = task
  switch (work.kind) {
    case 'groups':
    case 'direct':
      return flow(task, work)
    case 'paced':
      return paced(task, work)
    case 'stuck-reader':
      return stuckReader(task, work)
    case 'request':
      return requests(task, work)
    case 'connect':
      return arrivals(task, work)
    case 'idle':
      return idle(task, work)
    case 'crowd':
      return crowded(task, work)
    case 'paced-group':
      return pacedGroup(task, work)
    case 'hold':
      return hold(task, (measured) => process.send?.({ measured } satisfies Outcome))
  }
}

async function tellOutcome(task: Task): Promise<void> {
  const outcome: Outcome = await perform(task).then(
    (measured) => ({ measured }),
    (error) => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
  process.send?.(outcome, () => process.exit(0))
}

process.once('message', (task: Task) => void tellOutcome(task))
process.once('disconnect', () => process.exit(1))
