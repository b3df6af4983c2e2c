import { join } from 'node:path'
import { eventually } from '@damon/testkit/eventually'
import { onFreePorts } from '@damon/testkit/free-port'
import { expect, it } from 'vitest'
import { buildHouse } from '../src/house.ts'
import { Guests } from './guests.ts'
import { resumeWays } from './resume-ways.ts'
import { heartbeat } from './ways-contract.ts'

resumeWays(async () => {
  const house = await buildHouse()
  const start = async (env: Readonly<Record<string, string>>) => {
    const hub = await house.startHub({ ...heartbeat, ...env })
    return { url: hub.ready.url ?? '', [Symbol.asyncDispose]: () => hub[Symbol.asyncDispose]() }
  }
  const hub = await start({})
  return {
    house,
    urls: [hub.url],
    apart: start,
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]()
      await house[Symbol.asyncDispose]()
    },
  }
})

it('the death of the primary ends sessions, which are told so, and no kept record', { timeout: 120_000 }, async () => {
  await using house = await buildHouse()
  await onFreePorts(1, async ([port]) => {
    const start = () =>
      house.startHub({ ...heartbeat, HUB_PORT: String(port), HUB_STATE_DIR: join(house.folder, 'outlives') })
    const first = await start()
    await using guests = new Guests()
    const guest = await guests.come(house, first.ready.url ?? '', { groups: ['g'] })
    const before = guest.hub.session
    await guest.hub.put('thing/kept', { n: 1 })
    const watch = guest.hub.watch('thing/')
    await watch.ready()
    first.signal('SIGKILL')
    await first.exited
    await using _second = await start()
    await eventually(() => expect([guest.resumed, guest.reasons]).toEqual([[false], ['store_emptied']]), {
      deadlineMs: 30_000,
    })
    const lost = ['all', `client/${guest.hub.subject}`, `session/${before}`, 'group/g']
    expect(guest.gaps).toEqual(lost.map((to) => ({ to })))
    expect((await guest.hub.get('thing/kept'))?.value).toEqual({ n: 1 })
    await guest.hub.put('thing/kept', { n: 2 })
    await eventually(() => expect(watch.entries.get('thing/kept')?.value).toEqual({ n: 2 }))
  })
})
