import type { Readable } from 'node:stream'
import Dockerode from 'dockerode'
import { z } from 'zod'
import type { Container, ContainerEvent, Docker } from './docker.ts'
import { lines, logFrames } from './docker-streams.ts'

const inspected = z.object({
  Id: z.string(),
  Name: z.string(),
  State: z.object({ Running: z.boolean().optional(), Health: z.object({ Status: z.string() }).nullish() }),
  Config: z.object({
    Env: z.array(z.string()).nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
    Tty: z.boolean().nullish(),
  }),
  HostConfig: z.object({ NetworkMode: z.string().nullish() }).nullish(),
  NetworkSettings: z
    .object({
      Networks: z
        .record(z.string(), z.object({ IPAddress: z.string().nullish(), GlobalIPv6Address: z.string().nullish() }))
        .nullish(),
    })
    .nullish(),
})
const happened = z.object({
  Action: z.string(),
  Actor: z.object({ ID: z.string() }),
  time: z.number().optional(),
  timeNano: z.number().optional(),
})

/** The daemon at DOCKER_HOST (`tcp://` of a socket proxy, `unix://`), or at the usual socket. */
export function dockerEngine(host?: string): Docker {
  const engine = new Dockerode(host === undefined ? {} : optionsOf(host))

  return {
    async list(labels) {
      const found = await engine.listContainers({ all: true, filters: { label: [...labels] } })
      return found.map(({ Id }) => Id)
    },
    async inspect(id) {
      try {
        return containerOf(inspected.parse(await engine.getContainer(id).inspect()))
      } catch (error) {
        if (statusOf(error) === 404) return undefined
        throw error
      }
    },
    async *logs(id, since, abortSignal) {
      const container = engine.getContainer(id)
      const tty = inspected.parse(await container.inspect()).Config.Tty === true
      const options = { follow: true, stdout: true, stderr: true, since, abortSignal } as const
      const stream = (await container.logs(options)) as unknown as Readable
      yield* until(abortSignal, stream, lines(tty ? stream : logFrames(stream)))
    },
    async *events(since, abortSignal) {
      // The API takes fractions; the client's types know numbers only.
      const stream = (await engine.getEvents({ filters: { type: ['container'] }, since, abortSignal })) as Readable
      for await (const line of until(abortSignal, stream, lines(stream))) {
        const event = eventOf(line)
        if (event) yield event
      }
    },
    async stop(name, seconds) {
      try {
        await engine.getContainer(name).stop({ t: seconds })
      } catch (error) {
        // Stopped already, or gone.
        if (statusOf(error) !== 304 && statusOf(error) !== 404) throw error
      }
    },
  }
}

function optionsOf(host: string): Dockerode.DockerOptions {
  const url = new URL(host)
  if (url.protocol === 'unix:') return { socketPath: url.pathname }
  return { protocol: 'http', host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port) || 2375 }
}

function containerOf({ Id, Name, State, Config, HostConfig, NetworkSettings }: z.output<typeof inspected>): Container {
  const networks = Object.values(NetworkSettings?.Networks ?? {})
  return {
    id: Id,
    name: Name.replace(/^\//, ''),
    labels: Config.Labels ?? {},
    environment: Config.Env ?? [],
    health: State.Running === false ? 'stopped' : healthOf(State.Health?.Status),
    onHostNetwork: HostConfig?.NetworkMode === 'host',
    addresses: networks.flatMap(({ IPAddress, GlobalIPv6Address }) =>
      [IPAddress, GlobalIPv6Address].filter((one) => !!one),
    ) as string[],
  }
}

function healthOf(status: string | undefined): Container['health'] {
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : 'none'
}

function eventOf(line: string): ContainerEvent | undefined {
  try {
    const { Action, Actor, time = 0, timeNano } = happened.parse(JSON.parse(line))
    return { id: Actor.ID, action: Action, time: timeNano === undefined ? time : timeNano / 1e9 }
  } catch {
    return undefined
  }
}

/** The items until the signal aborts; the connection is closed whenever the reader stops. */
async function* until<T>(signal: AbortSignal, stream: Readable, items: AsyncIterable<T>): AsyncGenerator<T> {
  const end = () => stream.destroy()
  signal.addEventListener('abort', end)
  try {
    yield* items
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', end)
    stream.destroy()
  }
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
}
