import { buildHouse } from '../src/house.ts'
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
