import { failureClass } from '@damon/protocol/audio'
import type { Logger } from '@damon/runtime/logger'
import type { AudioNode } from '../audio-node.ts'
import type { Clock } from '../clock.ts'
import type { Docker } from '../docker.ts'

/** Whose container is watched, and how soon a stream that ended is opened again, ms. */
export interface ContainerOptions {
  docker: Docker
  /** Its name, which it keeps when it is made anew. */
  name: string
  againMs: number
  clock: Clock
  log: Logger
}

/** Actions after which the container may be in another state. */
const changes = /^(start|die|destroy|restart|rename|oom|pause|unpause|health_status)/
/** Lines of one spell that are read: a flood must not keep the sidecar busy. */
const spell = { ms: 5_000, lines: 100 }

/** Watches the state and health of a container; rejects with the reason of `signal`. */
export async function runContainerHealth(
  node: AudioNode,
  options: ContainerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { docker, name, clock } = options
  let since = clock.unix() / 1_000
  const inspect = async () => {
    const container = await docker.inspect(name)
    const health = container?.health ?? 'stopped'
    if (node.evidence.container.at(-1)?.health === health) return
    node.observe({ source: 'container', health })
    node.wake()
  }
  await again(options, signal, async () => {
    // What happened while nobody listened shows in the state now; events since then come all the same.
    await inspect()
    for await (const { action, time } of docker.events(since, signal)) {
      since = Math.max(since, time)
      if (changes.test(action)) await inspect()
    }
  })
}

/** Reads the WARN lines of a container; rejects with the reason of `signal`. */
export async function runContainerLog(node: AudioNode, options: ContainerOptions, signal: AbortSignal): Promise<void> {
  const { docker, name, clock } = options
  let since = Math.ceil(clock.unix() / 1_000)
  let from = clock.now()
  let read = 0
  await again(options, signal, async () => {
    for await (const line of docker.logs(name, since, signal)) {
      since = Math.ceil(clock.unix() / 1_000)
      if (clock.now() - from > spell.ms) {
        from = clock.now()
        read = 0
      }
      const kind = blameOf(line)
      if (kind && ++read <= spell.lines) node.observe({ source: 'log', class: kind })
    }
  })
}

/** The class of a WARN line that tells of the addresses; undefined for all others. */
export function blameOf(line: string): 'rate' | 'bot' | 'bind' | undefined {
  if (!/\b(WARN|ERROR)\b/.test(line)) return undefined
  const kind = failureClass(line)
  return kind === 'rate' || kind === 'bot' || kind === 'bind' ? kind : undefined
}

/** Does it again whenever it ended, as when the daemon restarts, and tells of trouble once. */
async function again(
  { clock, againMs, name, log }: ContainerOptions,
  signal: AbortSignal,
  read: () => Promise<void>,
): Promise<never> {
  for (let told = false; ; ) {
    try {
      await read()
      told = false
    } catch (error) {
      signal.throwIfAborted()
      log[told ? 'debug' : 'warn']({ err: error, container: name }, 'Docker tells nothing of the container')
      told = true
    }
    await clock.sleep(againMs, signal)
  }
}
