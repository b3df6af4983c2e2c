import { createLogger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { expect, it } from 'vitest'
import { type Fleet, Roll } from '../src/roll.ts'

/** Workers that are numbers; what was done with them, in order. */
class FakeFleet implements Fleet<number> {
  serving = [1, 2]
  readonly steps: string[] = []
  readonly sessions = new Map<number, number>()
  addFails = false
  #last = 2

  async add(): Promise<number> {
    if (this.addFails) throw new Error('it ended')
    this.#last++
    this.serving.push(this.#last)
    this.steps.push(`add ${this.#last}`)
    return this.#last
  }
  async retire(worker: number): Promise<void> {
    this.serving = this.serving.filter((one) => one !== worker)
    this.steps.push(`retire ${worker}`)
  }
  accept(takers: readonly number[]): void {
    this.steps.push(`accept ${takers.join(' ')}`)
  }
  async part(moves: readonly { worker: number; count: number }[]): Promise<void> {
    for (const { worker, count } of moves) {
      this.steps.push(`part ${count} of ${worker}`)
      const to = this.serving.find((one) => one !== worker) ?? worker
      this.sessions.set(worker, (this.sessions.get(worker) ?? 0) - count)
      this.sessions.set(to, (this.sessions.get(to) ?? 0) + count)
    }
  }
  async count() {
    return this.serving.map((worker) => ({ worker, sessions: this.sessions.get(worker) ?? 0 }))
  }
}

function rolling(fleet: FakeFleet) {
  const results: string[] = []
  const stop = new AbortController()
  const log = createLogger({ service: 'hub', level: 'silent' })
  const roll = new Roll({ fleet, log, stopping: stop.signal, done: (result) => results.push(result) })
  return { roll, results, stop }
}

it('starts each new worker before the old one goes, lets only the newest take connections, and evens out at the end', async () => {
  const fleet = new FakeFleet()
  fleet.sessions.set(3, 30).set(4, 10)
  const { roll, results } = rolling(fleet)
  roll.begin('test')
  await roll.idle()
  expect(fleet.steps).toEqual([
    ...['add 3', 'accept 3', 'retire 1'],
    ...['add 4', 'accept 4', 'retire 2'],
    ...['accept 3 4', 'accept 4', 'part 10 of 3', 'accept 3 4'],
  ])
  expect(fleet.serving).toEqual([3, 4])
  expect(results).toEqual(['done'])
})

it('leaves the old ones in their place, and on the port, when a new one does not come to serve', async () => {
  const fleet = new FakeFleet()
  fleet.addFails = true
  const { roll, results } = rolling(fleet)
  roll.begin('test')
  await roll.idle()
  expect(fleet.serving).toEqual([1, 2])
  expect(fleet.steps).toEqual(['accept 1 2'])
  expect(results).toEqual(['failed'])
})

it('takes several wishes during a roll for one more roll after it', async () => {
  const fleet = new FakeFleet()
  const { roll, results } = rolling(fleet)
  for (const wish of ['a', 'b', 'c']) roll.begin(wish)
  await eventually(() => expect(results).toEqual(['done', 'done']))
  await roll.idle()
  expect(fleet.serving).toEqual([5, 6])
})

it('ends between two workers when the hub stops', async () => {
  const fleet = new FakeFleet()
  const { roll, results, stop } = rolling(fleet)
  const retire = fleet.retire.bind(fleet)
  fleet.retire = async (worker) => {
    await retire(worker)
    stop.abort()
  }
  roll.begin('test')
  await roll.idle()
  expect(fleet.serving).toEqual([2, 3])
  expect(results).toEqual([])
})
