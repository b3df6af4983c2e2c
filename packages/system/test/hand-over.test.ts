import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { eventually } from '@damon/testkit/eventually'
import { expect, it } from 'vitest'
import { childrenOf } from '../faults/machine.ts'
import { buildHouse } from '../src/house.ts'

const request =
  'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: damon.v1\r\n\r\n'

it('a connection that was handed to a worker which then dies is closed at once, so that its client dials again', async () => {
  await using house = await buildHouse()
  await using hub = await house.startHub({ HUB_WORKERS: '2', HUB_PLAIN_PORT: '0' })
  const port = Number(new URL(hub.ready.plain ?? '').port)
  const [stopped = 0] = childrenOf(hub.pid)
  process.kill(stopped, 'SIGSTOP')
  const answered = new Set<Socket>()
  const sockets = Array.from({ length: 6 }, () => {
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    socket.once('data', () => answered.add(socket))
    socket.on('error', () => undefined)
    return socket
  })
  try {
    // A worker gets the next one when it has taken the one before.
    await eventually(() => expect(answered.size).toBe(5))
    process.kill(stopped, 'SIGKILL')
    const waiting = sockets.find((socket) => !answered.has(socket))
    await eventually(() => expect(waiting?.destroyed).toBe(true))
    expect(answered.size).toBe(5)
  } finally {
    for (const socket of sockets) socket.destroy()
    await Promise.all(sockets.map((socket) => socket.closed || once(socket, 'close')))
  }
})
