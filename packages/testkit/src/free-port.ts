import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/**
 * A loopback port that was free for TCP and UDP a moment ago, for daemons that cannot choose one themselves. Another
 * process may take it meanwhile: who uses it MUST try again with another one when its daemon cannot listen.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const tcp = createServer().listen(0, '127.0.0.1')
    await once(tcp, 'listening')
    const { port } = tcp.address() as AddressInfo
    const udp = createSocket('udp4')
    const free = await new Promise<boolean>((resolve) => {
      udp.once('error', () => resolve(false))
      udp.bind(port, '127.0.0.1', () => resolve(true))
    })
    await Promise.all([
      new Promise<void>((resolve) => tcp.close(() => resolve())),
      new Promise<void>((resolve) => udp.close(() => resolve())),
    ])
    if (free) return port
  }
}

/** Launches a daemon on that many free ports; anew, up to five times, when somebody else was quicker. */
export async function onFreePorts<T>(count: number, launch: (ports: number[]) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    const ports: number[] = []
    while (ports.length < count) ports.push(await freePort())
    try {
      return await launch(ports)
    } catch (error) {
      if (tries === 5 || !/address already in use/i.test(String(error))) throw error
    }
  }
}
