import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Linux tells times of processes in ticks of this length, ms. */
const tickMs = 10

/** These processes with all their descendants. */
export function familyOf(pids: readonly number[]): number[] {
  return pids.flatMap((pid) => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
    return [pid, ...familyOf(children)]
  })
}

/** What processes have used of the processor so far, in user and kernel mode, ms (proc(5): utime and stime). */
export function cpuMs(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Behind the name, which may hold anything, the third field is the first.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * tickMs
}

/** What all processors have done since the machine started, and what was taken from them by other machines, ms. */
export function busyMs(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0, steal = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  )
    .split(/ +/)
    .slice(1)
    .map(Number)
  return (user + nice + system + irq + soft + steal) * tickMs
}

/** Memory of processes that is in RAM, KiB (proc(5): VmRSS). */
export function rssKiB(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) sum += Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return sum
}

/**
 * Runs `start` while the calling thread sits on one core: processes that it starts stay there. Undefined: anywhere.
 * MUST NOT run twice at a time.
 */
export async function onCore<T>(core: number | undefined, start: () => Promise<T>): Promise<T> {
  if (core === undefined) return start()
  const move = (cores: string) => execFileSync('taskset', ['-cp', cores, String(process.pid)], { stdio: 'pipe' })
  const before = /list: (\S+)/.exec(move(String(core)).toString())?.[1]
  try {
    return await start()
  } finally {
    if (before) move(before)
  }
}
