import { setTimeout as sleep } from 'node:timers/promises'
import { eventually } from '@damon/testkit/eventually'
import type { Crew } from './crew.ts'
import type { Fault } from './fault.ts'
import { kill, type Machine } from './machine.ts'
import type { Stage, StageShape } from './stage.ts'

const heartbeatMs = 2_000
const two: StageShape = {
  name: 'two machines on Redis',
  bus: 'redis',
  machines: 2,
  workers: 2,
  heartbeatMs,
  crew: { clients: 24, groups: 12 },
}
const alone: StageShape = {
  name: 'one machine, no Redis',
  bus: 'cluster',
  machines: 1,
  workers: 3,
  heartbeatMs,
  crew: { clients: 18, groups: 9 },
}
/** Nobody takes a process that stands still for a few seconds for dead. */
const patient: StageShape = {
  name: 'three patient workers',
  bus: 'redis',
  machines: 1,
  workers: 3,
  heartbeatMs: 15_000,
  crew: { clients: 12, groups: 6 },
}
const crowd: StageShape = {
  name: 'four workers, 2,000 clients',
  bus: 'redis',
  machines: 1,
  workers: 4,
  heartbeatMs: 15_000,
  crew: { clients: 2_000, groups: 1_000 },
  plain: true,
}

const talk = { rate: 500, bytes: 120, questions: 20 }
const storm = { ...talk, rate: 5_000 }

/** Every fault of the suite. */
export const faults: readonly Fault[] = [
  {
    name: 'worker-killed',
    title: 'SIGKILL of a worker',
    stage: two,
    traffic: storm,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      kill(random.pick(stage.victim(random).machine.workers), 'SIGKILL')
      return undefined
    },
  },
  {
    name: 'worker-killed-alone',
    title: 'SIGKILL of a worker, no Redis',
    stage: alone,
    traffic: storm,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      kill(random.pick(stage.first.workers), 'SIGKILL')
      return undefined
    },
  },
  {
    name: 'primary-killed',
    title: 'SIGKILL of a primary',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      kill(stage.victim(random).machine.service.pid, 'SIGKILL')
      return undefined
    },
  },
  {
    name: 'primary-killed-alone',
    title: 'SIGKILL of the primary, no Redis',
    stage: alone,
    traffic: talk,
    async strike(stage) {
      kill(stage.first.service.pid, 'SIGKILL')
      return undefined
    },
  },
  {
    name: 'machine-dies',
    title: 'One of two machines dies for 3 s',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      const { machine } = stage.victim(random)
      machine.die()
      await sleep(3_000)
      machine.back()
      return undefined
    },
  },
  {
    name: 'rolled',
    title: 'Rolling restart of both machines',
    stage: two,
    traffic: { ...talk, rate: 1_000 },
    bars: { toldLost: 0 },
    async strike(stage) {
      for (const machine of stage.machines) await roll(machine)
      return undefined
    },
  },
  {
    name: 'rolled-alone',
    title: 'Rolling restart, no Redis',
    stage: alone,
    traffic: { ...talk, rate: 1_000 },
    bars: { toldLost: 0 },
    async strike(stage) {
      await roll(stage.first)
      return undefined
    },
  },
  {
    name: 'rolled-crowd',
    title: 'Rolling restart of 4 workers with 2,000 clients',
    stage: crowd,
    traffic: { ...talk, rate: 1_000, toAll: 0 },
    bars: { toldLost: 0, ratio: 1.15 },
    async strike(stage) {
      await roll(stage.first)
      await eventually(
        () => {
          const away = stage.crew.members.filter(({ hub }) => hub.state !== 'connected').length
          if (away > 0) throw new Error(`${away} clients are on their way.`)
        },
        { deadlineMs: 60_000 },
      )
      const counts = new Map<number, number>()
      for (const pid of (await placesOf(stage.crew)).values()) counts.set(pid, (counts.get(pid) ?? 0) + 1)
      return { ratio: Math.max(...counts.values()) / Math.min(...counts.values()) }
    },
  },
  {
    name: 'subscriber-blocked',
    title: 'Worker stands still for 3 s under 20,000 x 4 KB',
    stage: patient,
    traffic: { ...talk, rate: 100 },
    async strike(stage) {
      const { pid, on, off } = await blockable(stage)
      const burst = stage.crew.burst(off, `client/bot/${on}`, 20_000, 4_096)
      kill(pid, 'SIGSTOP')
      await sleep(3_000)
      kill(pid, 'SIGCONT')
      await burst
      return undefined
    },
  },
  {
    name: 'redis-restarted',
    title: 'Redis killed, back with its data',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage) {
      await stage.redis?.kill()
      await sleep(2_000)
      await stage.redis?.restart()
      return undefined
    },
  },
  {
    name: 'redis-emptied',
    title: 'Redis killed, back empty',
    stage: two,
    traffic: talk,
    async strike(stage) {
      await stage.redis?.kill()
      await sleep(1_000)
      await stage.redis?.restart({ empty: true })
      return undefined
    },
  },
  {
    name: 'redis-paused',
    title: 'Redis does not answer for 3 s',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      const pauses = [
        () => stage.redis?.pause(3_000),
        () => stage.command('CLIENT', 'PAUSE', 3_000, 'ALL').then(() => sleep(3_000)),
        () => stage.command('DEBUG', 'SLEEP', 3),
      ]
      await random.pick(pauses)()
      return undefined
    },
  },
  {
    name: 'subscribers-overrun',
    title: "Redis drops its subscribers' buffers",
    stage: two,
    traffic: { ...talk, rate: 300 },
    async strike(stage) {
      const limit = 'client-output-buffer-limit'
      await stage.command('CONFIG', 'SET', limit, 'pubsub 32kb 32kb 1')
      const names = stage.crew.members.map(({ name }) => name)
      await Promise.all([
        stage.crew.burst(names, 'group/g0', 600, 1_024),
        stage.crew.burst(names, 'group/g1', 600, 1_024),
      ])
      await stage.command('CONFIG', 'SET', limit, 'pubsub 32mb 8mb 60')
      return undefined
    },
  },
  {
    name: 'redis-lines-cut',
    title: 'All connections to Redis cut, three times',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      for (let times = 0; times < 3; times++) {
        for (const type of random.shuffle(['pubsub', 'normal'])) await stage.command('CLIENT', 'KILL', 'TYPE', type)
        await sleep(300 + random.below(700))
      }
      return undefined
    },
  },
  {
    name: 'lines-cut',
    title: 'Connections of clients cut, three times',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      for (let times = 0; times < 3; times++) {
        stage.victim(random).proxy.cut()
        await sleep(300 + random.below(700))
      }
      return undefined
    },
  },
  {
    name: 'lines-half-open',
    title: 'Connections of clients half-open for 4 s',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      const { proxy } = stage.victim(random)
      proxy.stall()
      await sleep(2 * heartbeatMs)
      proxy.resume()
      return undefined
    },
  },
  {
    name: 'lines-slow',
    title: '200 ms delay, 2 % stalls',
    stage: two,
    traffic: { ...talk, rate: 200 },
    async strike(stage, random) {
      const { proxy } = stage.victim(random)
      proxy.slow({ delayMs: 200, stalls: 0.02, stallMs: 600, random: () => random.next() })
      await sleep(4_000)
      proxy.slow(undefined)
      return undefined
    },
  },
  {
    name: 'clock-jumps',
    title: 'Wall clock of a machine: an hour on, half an hour back',
    stage: two,
    traffic: talk,
    bars: { toldLost: 0 },
    async strike(stage, random) {
      const { machine, proxy } = stage.victim(random)
      for (const minutes of [60, -30, 0]) {
        await stage.moveClock(machine, minutes * 60_000)
        await sleep(1_000)
        // Who connects now is looked at with the wrong time.
        proxy.cut()
        await sleep(1_000)
      }
      return undefined
    },
  },
]

/** Lets a machine replace its workers, and waits until all are new and none is moved any more. */
async function roll(machine: Machine): Promise<void> {
  const old = new Set(machine.workers)
  const rolls = await machine.metric('damon_hub_rolls_total{result="done"}')
  machine.service.signal('SIGHUP')
  const deadline = performance.now() + 120_000
  while ((await machine.metric('damon_hub_rolls_total{result="done"}')) <= rolls) {
    const failed = machine.output.includes('the old ones go on')
    if (failed || performance.now() > deadline)
      throw new Error(`The roll does not end:\n${machine.output.slice(-4_000)}`)
    await sleep(50)
  }
  const left = machine.workers.filter((pid) => old.has(pid))
  if (left.length > 0) throw new Error(`${left.length} workers were not replaced.`)
}

/** A worker with a client on it, and clients of other workers. */
async function blockable(stage: Stage): Promise<{ pid: number; on: string; off: string[] }> {
  const places = await placesOf(stage.crew)
  const workers = stage.first.workers
  for (const pid of workers) {
    const on = [...places].find(([, place]) => place === pid)?.[0]
    const off = [...places].filter(([, place]) => place !== pid).map(([name]) => name)
    if (on !== undefined && off.length > 0) return { pid, on, off }
  }
  throw new Error('All clients are on one worker.')
}

/** The process that holds each client. */
async function placesOf(crew: Crew): Promise<Map<string, number>> {
  const [one] = crew.members
  if (!one) return new Map()
  const ask = () => one.hub.group('hubs').request<{ origin: number; pid: number }>('hub.status')
  const answers = await eventually(async () => ask())
  const pids = new Map(answers.flatMap(({ value }) => (value ? [[value.origin, value.pid]] : [])))
  const records = await one.hub.list('service/bot/')
  return new Map(
    records.flatMap(({ key, value }) => {
      const [, , name = '', session] = key.split('/')
      const { worker } = value as { worker: number }
      const pid = pids.get(worker)
      const live = crew.members.some(({ hub }) => hub.session === session)
      return live && pid !== undefined ? [[name, pid] as const] : []
    }),
  )
}
