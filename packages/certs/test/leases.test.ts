import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { Leases } from '../src/leases.ts'
import { Store } from '../src/store.ts'
import { quiet, storeKey } from './acme-setup.ts'
import { ManualClock } from './manual-clock.ts'

const never = new AbortController().signal

async function holders(path: string, clock: ManualClock) {
  const make = async () => new Leases({ store: await Store.open(path, storeKey), clock, log: quiet })
  return { one: await make(), two: await make() }
}

/** Moves the clock to the next alarm, as often as it takes. */
async function passTime<T>(clock: ManualClock, waiting: Promise<T>): Promise<{ value: T; looks: number }> {
  let looks = 0
  for (;;) {
    const value = await Promise.race([waiting, clock.slept.then(() => clock)])
    if (value !== clock) return { value: value as T, looks }
    looks += 1
    clock.set(clock.alarms[0]!)
    await new Promise(setImmediate)
  }
}

test('a lease has one holder; the next one gets it, with a higher number, once it is given back', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(0)
  const { one, two } = await holders(folder.path, clock)
  const first = await one.acquire('edge', never)
  const waiting = two.acquire('edge', never)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  await first.fence()
  await first[Symbol.asyncDispose]()
  clock.set(clock.alarms[0]!)
  await using second = await waiting
  expect(second.generation).toBe(first.generation + 1)
  await using other = await one.acquire('other', never)
  expect(other.generation).toBe(1)
})

test('when both come at once, one has it', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(0)
  const { one, two } = await holders(folder.path, clock)
  const both = [one.acquire('edge', never), two.acquire('edge', never)]
  const winner = await Promise.race(both)
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  await winner.fence()
  await winner[Symbol.asyncDispose]()
  clock.set(clock.alarms[0]!)
  const all = await Promise.all(both)
  expect(all.map(({ generation }) => generation).sort()).toEqual([1, 2])
  for (const lease of all) await lease[Symbol.asyncDispose]()
})

test('a holder that shows no life is taken over, and is told so at its next step', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(0)
  const { one, two } = await holders(folder.path, clock)
  await using dead = await one.acquire('edge', never)
  const { value: lease, looks } = await passTime(clock, two.acquire('edge', never))
  await using taken = lease
  expect(looks).toBe(10)
  await expect(dead.fence()).rejects.toMatchObject({ code: 'lease_lost' })
  expect(dead.lost.aborted).toBe(true)
  await taken.fence()
})

test('who waits for a lease can be told to stop', async () => {
  await using folder = await temporaryFolder()
  const clock = new ManualClock(0)
  const { one, two } = await holders(folder.path, clock)
  await using _held = await one.acquire('edge', never)
  const controller = new AbortController()
  const waiting = two.acquire('edge', controller.signal)
  waiting.catch(() => {})
  await eventually(() => expect(clock.alarms).toHaveLength(1))
  controller.abort(new Error('stopping'))
  await expect(waiting).rejects.toThrow('stopping')
})

test('a holder that was killed on the same machine is not waited for', async () => {
  await using folder = await temporaryFolder()
  const leases = new URL('../src/leases.ts', import.meta.url).href
  const store = new URL('../src/store.ts', import.meta.url).href
  const script = `
    import { Leases } from ${JSON.stringify(leases)}
    import { Store } from ${JSON.stringify(store)}
    const clock = { now: Date.now, until: () => new Promise(() => {}) }
    const log = { warn() {} }
    const store = await Store.open(${JSON.stringify(folder.path)}, ${JSON.stringify(storeKey)})
    await new Leases({ store, clock, log }).acquire('edge', new AbortController().signal)
    process.kill(process.pid, 'SIGKILL')`
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  await expect(run).rejects.toMatchObject({ signal: 'SIGKILL' })
  const { one } = await holders(folder.path, new ManualClock(0))
  await using lease = await one.acquire('edge', never)
  expect(lease.generation).toBe(2)
})
