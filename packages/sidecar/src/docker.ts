import type { ContainerHealth } from './observation.ts'

/** What the sidecar must know of a container. */
export interface Container {
  id: string
  name: string
  labels: Readonly<Record<string, string>>
  /** `NAME=value`; holds secrets. */
  environment: readonly string[]
  health: ContainerHealth
  /** On the network of the host, where it listens on every address of the machine. */
  onHostNetwork: boolean
  /** Its addresses in the networks it is in. */
  addresses: readonly string[]
}

/** Something happened to a container; `time` in Unix seconds with fractions, as the daemon's clock says. */
export interface ContainerEvent {
  id: string
  action: string
  time: number
}

/**
 * The Docker daemon beside the sidecar, as far as a sidecar may use it: list, inspect, logs, events, and stop of one name.
 * Everything rejects when the daemon is away or refuses.
 */
export interface Docker {
  /** Ids of the containers with all of these labels, running or not. */
  list(labels: readonly string[]): Promise<string[]>
  /** Undefined when there is none by that id or name. */
  inspect(id: string): Promise<Container | undefined>
  /** Lines of both streams since `since` (Unix seconds); ends when the container or the daemon does. */
  logs(id: string, since: number, signal: AbortSignal): AsyncIterable<string>
  /** Events of containers since `since` (Unix seconds, with fractions); ends when the daemon does. */
  events(since: number, signal: AbortSignal): AsyncIterable<ContainerEvent>
  /** Resolves also when it was stopped before, or is gone. `seconds` until it is killed. */
  stop(name: string, seconds: number): Promise<void>
}
