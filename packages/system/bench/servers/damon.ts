import { startRedis } from '@damon/testkit/redis-server'
import { generateKey } from '@damon/trust/keys'
import type { House } from '../../src/house.ts'
import { subjectOf } from '../load/dialect-damon.ts'
import type { BenchServer, ServerPlan } from './server.ts'

const rights = ['join:*', 'send:group/*', 'send:client/*', 'ask:group/*', 'get:service/*']

/** One client sends here what thousands do elsewhere: its rate is counted as any other, but high. */
const rate = 'bench'
const rates = { [rate]: { framesPerSecond: 1_000_000, bytesPerSecond: 1_000_000_000 } }

/** Our hub, complete: everything is on that is on by default. */
export async function startDamon(plan: ServerPlan, house: House): Promise<BenchServer> {
  await using resources = new AsyncDisposableStack()
  const redis = plan.redis ? resources.use(await startRedis()) : undefined
  const hub = resources.use(
    await house.startHub({
      HUB_WORKERS: String(plan.workers ?? 1),
      HUB_RATES: JSON.stringify(rates),
      ...(redis && { REDIS_URL: redis.url }),
      ...(!plan.tls && { HUB_PLAIN_PORT: '0' }),
    }),
  )
  const url = plan.tls ? hub.ready.url : hub.ready.plain
  if (!url) throw new Error('The hub offers no plain WebSocket on loopback (HUB_PLAIN_PORT).')
  const { privateKey: identity } = await generateKey()
  const open = resources.move()
  return {
    endpoint: { dialect: 'damon', urls: [url], ca: house.tls.ca, identity },
    pids: [hub.pid, ...(redis ? [redis.pid] : [])],
    enrol: async (clients) => {
      const passes = []
      for (const { name, groups } of clients) {
        const { token } = await house.credential(url, subjectOf(name), rights, { identity, rate })
        passes.push({ name, groups, token })
      }
      return passes
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
