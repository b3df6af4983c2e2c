import { Secret } from '@damon/runtime/secret'
import type { SidecarConfig } from './config.ts'
import type { Container, Docker } from './docker.ts'
import { type LavalinkSettings, overlay, readLavalinkEnvironment } from './lavalink-settings.ts'
import { isPassword, type NodeSettings } from './node-settings.ts'

const projectLabel = 'com.docker.compose.project'
const serviceLabel = 'com.docker.compose.service'
const numberLabel = 'com.docker.compose.container-number'

/** What is looked for: the containers of one service of one compose project. */
export interface Search {
  /** Where nothing is said, that of the sidecar's own container. */
  project?: string | undefined
  service: string
  /** The name of this machine: in a container it is that container's id. */
  hostname: string
}

/** The audio servers beside this sidecar, in the order of their numbers. Rejects with what to configure. */
export async function findLavalinks(
  docker: Docker,
  { project, service, hostname }: Search,
): Promise<{ inside: boolean; containers: Container[] }> {
  const self = await docker.inspect(hostname)
  const name = project ?? self?.labels[projectLabel]
  if (name === undefined)
    throw new Error('The compose project of this sidecar is not known: on the network of the host set DOCKER_PROJECT.')
  const ids = await docker.list([`${projectLabel}=${name}`, `${serviceLabel}=${service}`])
  const found = await Promise.all(ids.map((id) => docker.inspect(id)))
  const containers = found.filter((one) => one !== undefined)
  containers.sort((one, other) => numberOf(one) - numberOf(other))
  // Only from inside of a network of its own does a container see the names of the others.
  return { inside: self !== undefined && !self.onHostNetwork, containers }
}

/**
 * What a container's own settings say of its Lavalink, on top of `under` (a mounted application.yml). Throws with what is
 * missing: the password above all.
 */
export function settingsOf(
  container: Container,
  config: SidecarConfig,
  { id, inside, under }: { id: string; inside: boolean; under: LavalinkSettings },
): NodeSettings {
  const { port = 2333, password: own, pool } = overlay(readLavalinkEnvironment(container.environment), under)
  const password = config.LAVALINK_PASSWORD?.reveal() ?? own
  if (password === undefined || !isPassword(password))
    throw new Error(
      `The password of ${container.name} is not known: set LAVALINK_CONFIG_FILE or LAVALINK_PASSWORD_FILE.`,
    )
  const host = container.onHostNetwork ? '127.0.0.1' : inside ? container.name : container.addresses[0]
  if (host === undefined) throw new Error(`${container.name} is in no network that this sidecar could reach it by.`)
  return {
    id,
    url: new URL(`http://${host.includes(':') ? `[${host}]` : host}:${port}`),
    password: new Secret(password),
    address: config.NODE_ADDRESS,
    port: config.NODE_PORT,
    secure: config.NODE_SECURE,
    region: config.NODE_REGION,
    container: container.name,
    pool,
  }
}

/** The nodes of all containers: `id` for a single one, else with their numbers. */
export function nodesOf(
  { inside, containers }: { inside: boolean; containers: readonly Container[] },
  config: SidecarConfig,
  id: string,
): NodeSettings[] {
  const under = config.LAVALINK_CONFIG?.settings ?? {}
  return containers.map((container) =>
    settingsOf(container, config, {
      id: containers.length === 1 ? id : `${id}-${numberOf(container)}`,
      inside,
      under,
    }),
  )
}

function numberOf({ labels }: Container): number {
  return Number(labels[numberLabel]) || 1
}
