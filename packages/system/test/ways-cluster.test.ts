import { buildHouse } from '../src/house.ts'
import { heartbeat, waysContract } from './ways-contract.ts'

waysContract(async () => {
  const house = await buildHouse()
  const hub = await house.startHub(heartbeat)
  return {
    house,
    urls: [hub.ready.url ?? ''],
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]()
      await house[Symbol.asyncDispose]()
    },
  }
})
