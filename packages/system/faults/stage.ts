import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onFreePorts } from '@damon/testkit/free-port'
import type { Random } from '@damon/testkit/random'
import { type RedisServer, startRedis } from '@damon/testkit/redis-server'
import { type StallingProxy, startProxy } from '@damon/testkit/stalling-proxy'
import { generateKey } from '@damon/trust/keys'
import { Redis } from 'ioredis'
import { buildHouse, type House } from '../src/house.ts'
import { Crew, type CrewShape } from './crew.ts'
import { kill, Machine } from './machine.ts'

/** What a stage is built of. Stages of the same shape are used again. */
export interface StageShape {
  name: string
  /** `cluster`: one machine without Redis. */
  bus: 'redis' | 'cluster'
  machines: number
  /** Of each machine. */
  workers: number
  heartbeatMs: number
  crew: CrewShape
  /** Without TLS, where thousands connect. */
  plain?: boolean
}

/** Hubs, their Redis, a proxy in front of the first hub, and a crew of clients: everything real. */
export class Stage implements AsyncDisposable {
  readonly shape: StageShape
  readonly house: House
  readonly redis: RedisServer | undefined
  readonly machines: readonly Machine[]
  /** Clients reach the machines by these; none where the stage is plain. */
  readonly proxies: readonly StallingProxy[]
  readonly crew: Crew
  readonly #resources: AsyncDisposableStack

  private constructor(
    parts: Pick<Stage, 'shape' | 'house' | 'redis' | 'machines' | 'proxies' | 'crew'>,
    resources: AsyncDisposableStack,
  ) {
    this.shape = parts.shape
    this.house = parts.house
    this.redis = parts.redis
    this.machines = parts.machines
    this.proxies = parts.proxies
    this.crew = parts.crew
    this.#resources = resources
  }

  static async build(shape: StageShape, random: Random): Promise<Stage> {
    await using made = new AsyncDisposableStack()
    const house = made.use(await buildHouse())
    // Every write is on disk before it is answered: a killed Redis has all that it promised.
    const settings = ['--appendonly', 'yes', '--appendfsync', 'always', '--enable-debug-command', 'yes']
    const redis = shape.bus === 'redis' ? made.use(await startRedis({ args: settings })) : undefined
    const machines: Machine[] = []
    for (let i = 0; i < shape.machines; i++) machines.push(made.use(await startMachine(shape, house, redis, i)))
    const [first] = machines
    if (!first) throw new Error('A stage has a machine.')
    const proxies: StallingProxy[] = []
    for (const { port } of shape.plain ? [] : machines)
      proxies.push(made.use(await startProxy({ host: '127.0.0.1', port })))
    const urls = shape.plain
      ? [(first.service.ready.plain ?? '').replace('127.0.0.1', 'localhost')]
      : proxies.map(({ port }) => `wss://localhost:${port}`)
    // One key for all: making thousands of them is not what takes the time here.
    const { privateKey: identity } = await generateKey()
    const crew = made.use(
      await Crew.connect(
        shape.crew,
        async (sub, can, index) => {
          const iat = Math.floor(Date.now() / 1000) - 3_600
          const credential = await house.credential(urls[0] ?? '', sub, can, { identity, iat, exp: iat + 8 * 3_600 })
          const begin = index % urls.length
          return { ...credential, urls: [...urls.slice(begin), ...urls.slice(0, begin)] }
        },
        random,
      ),
    )
    if (shape.crew.clients <= 100) await crew.announce(3)
    return new Stage({ shape, house, redis, machines, proxies, crew }, made.move())
  }

  get first(): Machine {
    return this.machines[0]!
  }

  /** A machine that has its share of the clients, and how they reach it: whatever happens to it, somebody notices. */
  victim(random: Random): { machine: Machine; proxy: StallingProxy } {
    const all = sum(this.proxies.map(({ connections }) => connections))
    const places = this.machines.map((machine, i) => ({ machine, proxy: this.proxies[i]! }))
    return random.pick(places.filter(({ proxy }) => proxy.connections >= all / 3))
  }

  /** All machines are whole. */
  async whole(): Promise<void> {
    await Promise.all(this.machines.map((machine) => machine.whole(this.shape.workers)))
  }

  /** Says something to Redis. */
  async command(...words: [string, ...(string | number)[]]): Promise<unknown> {
    const [name, ...args] = words
    const client = new Redis(this.redis?.url ?? '', { retryStrategy: null, maxRetriesPerRequest: 0 })
    client.on('error', () => undefined)
    try {
      return await client.call(name, ...args)
    } finally {
      client.disconnect()
    }
  }

  /** Moves the wall clock of a machine's processes to this much beside the right time. */
  async moveClock(machine: Machine, ms: number): Promise<void> {
    await writeFile(clockFile(this.house, this.machines.indexOf(machine)), String(ms))
    for (const pid of [machine.service.pid, ...machine.workers]) kill(pid, 'SIGUSR2')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]()
  }
}

function clockFile(house: House, index: number): string {
  return join(house.folder, `clock-${index}`)
}

async function startMachine(
  shape: StageShape,
  house: House,
  redis: RedisServer | undefined,
  index: number,
): Promise<Machine> {
  const name = `machine-${index}`
  const state = join(house.folder, name)
  await mkdir(state, { mode: 0o700 })
  await writeFile(clockFile(house, index), '0')
  const preload = new URL('clock-preload.ts', import.meta.url)
  return onFreePorts(1, ([port]) =>
    Machine.start(house, name, port!, {
      HUB_WORKERS: String(shape.workers),
      HUB_HEARTBEAT_MS: String(shape.heartbeatMs),
      HUB_STATE_DIR: state,
      LOG_LEVEL: process.env.FAULT_LOG ?? 'warn',
      NODE_OPTIONS: `--import=${preload.href}`,
      FAULT_CLOCK_FILE: clockFile(house, index),
      ...(shape.plain && { HUB_PLAIN_PORT: '0' }),
      ...(redis && { REDIS_URL: redis.url }),
    }),
  )
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
