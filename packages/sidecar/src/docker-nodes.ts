import { hostname } from 'node:os'
import type { Logger } from '@damon/runtime/logger'
import type { CareParts } from './care.ts'
import { type Clock, systemClock } from './clock.ts'
import type { SidecarConfig } from './config.ts'
import type { Docker } from './docker.ts'
import { findLavalinks, nodesOf } from './docker-discovery.ts'
import { runContainerHealth, runContainerLog } from './evidence/container.ts'
import type { NodeSettings } from './node-settings.ts'

/** How soon the daemon is asked again, and how long a container may take to stop. */
const againMs = 5_000
const stopSeconds = 30

/** Who looks for containers, and until when. */
export interface SearchParts {
  id: string
  log: Logger
  stopping: AbortSignal
  clock?: Clock
  /** The name of this machine. */
  machine?: string
}

/**
 * The nodes with their containers: those configured, where there is one for each, else all that are found. Waits until there
 * is one; rejects with the reason of `stopping`.
 */
export async function withContainers(
  docker: Docker,
  configured: readonly NodeSettings[],
  config: SidecarConfig,
  { id, log, stopping, clock = systemClock, machine = hostname() }: SearchParts,
): Promise<readonly NodeSettings[]> {
  // Each of a list names its container itself.
  if (config.LAVALINKS) return configured
  const search = { project: config.DOCKER_PROJECT, service: config.DOCKER_SERVICE, hostname: machine }
  for (let told: string | undefined; ; ) {
    let why = `there is no container of the service ${config.DOCKER_SERVICE}`
    try {
      const found = await findLavalinks(docker, search)
      const [first] = found.containers
      if (first && configured.length === 1) return configured.map((one) => ({ ...one, container: first.name }))
      if (first) return nodesOf(found, config, id)
    } catch (error) {
      why = error instanceof Error ? error.message : String(error)
      // What was configured can do without Docker.
      if (configured.length > 0) {
        log.warn({ why }, 'Docker does not tell of the Lavalink: it is looked after without')
        return configured
      }
    }
    if (why !== told) log.warn({ why }, 'no Lavalink was found yet')
    told = why
    await clock.sleep(againMs, stopping)
  }
}

/** What a container adds to the care for its node: its health, its log, and the way to stop it. */
export function containerCare(
  docker: Docker,
  name: string,
  config: Pick<SidecarConfig, 'DOCKER_STOP'>,
  log: Logger,
  clock: Clock = systemClock,
): Pick<CareParts, 'sources' | 'stop'> {
  const options = { docker, name, againMs, clock, log }
  return {
    sources: [
      (node, signal) => runContainerHealth(node, options, signal),
      (node, signal) => runContainerLog(node, options, signal),
    ],
    stop: config.DOCKER_STOP ? () => docker.stop(name, stopSeconds) : undefined,
  }
}
