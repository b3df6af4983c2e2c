import { fileURLToPath } from 'node:url'
import { startService } from '@damon/testkit/process'
import { startRedis } from '@damon/testkit/redis-server'
import { generateKey } from '@damon/trust/keys'
import type { House } from '../../src/house.ts'
import type { BenchServer, ServerPlan } from './server.ts'
import { signName } from './signed-name.ts'

/** Socket.IO or plain ws, in as many processes as the plan says. */
export async function startPeer(plan: ServerPlan, house: House): Promise<BenchServer> {
  const script = fileURLToPath(new URL(`${plan.kind}-main.ts`, import.meta.url))
  await using resources = new AsyncDisposableStack()
  const redis = plan.redis ? resources.use(await startRedis()) : undefined
  const { publicKey, privateKey } = await generateKey()
  const env = {
    NAMES_KEY: JSON.stringify(publicKey),
    ...(redis && { REDIS_URL: redis.url }),
    ...(plan.tls && { TLS_CERT_FILE: house.tls.certFile, TLS_KEY_FILE: house.tls.keyFile }),
  }
  const services = []
  for (let i = 0; i < (plan.workers ?? 1); i++) services.push(resources.use(await startService(script, env)))
  const open = resources.move()
  return {
    endpoint: {
      dialect: plan.kind === 'socket-io' ? 'socket-io' : 'json',
      urls: services.map(({ ready }) => ready.url ?? ''),
      ca: house.tls.ca,
    },
    pids: [...services.map(({ pid }) => pid), ...(redis ? [redis.pid] : [])],
    enrol: async (clients) => clients.map((client) => ({ ...client, token: signName(client.name, { ...privateKey }) })),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
