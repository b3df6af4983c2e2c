import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { startDaemon } from '@damon/testkit/daemon'
import { onFreePorts } from '@damon/testkit/free-port'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { generateKey } from '@damon/trust/keys'
import type { House } from '../../src/house.ts'
import { encodeUserKey } from './nkey.ts'
import type { BenchServer, ServerPlan } from './server.ts'

/** nats-server with its WebSocket listener; clients prove an Ed25519 key. */
export async function startNats(plan: ServerPlan, house: House): Promise<BenchServer> {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await temporaryFolder())
  const { publicKey, privateKey } = await generateKey()
  const { certFile, keyFile, ca } = house.tls
  const [daemon, port] = await onFreePorts(2, async ([clientPort = 0, port = 0]) => {
    const config = join(folder.path, 'nats.conf')
    const tls = plan.tls ? `tls { cert_file: "${certFile}", key_file: "${keyFile}" }` : 'no_tls: true'
    await writeFile(
      config,
      `listen: "127.0.0.1:${clientPort}"
websocket { listen: "127.0.0.1:${port}", ${tls}, compression: false }
authorization { users: [{ nkey: ${encodeUserKey(publicKey.x)} }] }
`,
    )
    const isReady = async () => {
      const socket = connect(port, '127.0.0.1')
      try {
        await once(socket, 'connect')
        return true
      } finally {
        socket.destroy()
      }
    }
    return [await startDaemon({ command: 'nats-server', args: ['-c', config], isReady }), port] as const
  })
  resources.use(daemon)
  const open = resources.move()
  return {
    endpoint: {
      dialect: 'nats',
      urls: [plan.tls ? `wss://localhost:${port}` : `ws://127.0.0.1:${port}`],
      ca,
      identity: privateKey,
    },
    pids: [daemon.pid],
    enrol: async (clients) => clients.map((client) => ({ ...client, token: '' })),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
