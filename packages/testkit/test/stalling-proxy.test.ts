import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { eventually } from '../src/eventually.ts'
import { startProxy } from '../src/stalling-proxy.ts'

/** A server that greets, then sends back what it gets. */
async function startEcho(greeting: string) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    socket.write(greeting)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/** A client that gathers all it gets. */
function call(target: { host: string; port: number }) {
  const socket = connect(target.port, target.host).setEncoding('utf8')
  const state = { socket, text: '', ended: false, closed: false }
  socket.on('data', (text) => {
    state.text += text
  })
  socket.on('end', () => {
    state.ended = true
  })
  socket.on('close', () => {
    state.closed = true
  })
  socket.on('error', () => {})
  return state
}

it('forwards both ways and counts who is connected', async () => {
  await using echo = await startEcho('hello ')
  await using proxy = await startProxy(echo)
  const client = call(proxy)
  client.socket.write('world')
  await eventually(() => expect(client.text).toBe('hello world'))
  expect(proxy.connections).toBe(1)
  client.socket.end()
  await eventually(() => expect(client.closed).toBe(true))
  await eventually(() => expect(proxy.connections).toBe(0))
})

it('lets nothing through while it stalls, not even a close, and delivers it afterwards', async () => {
  await using echo = await startEcho('hello ')
  await using proxy = await startProxy(echo)
  const client = call(proxy)
  await eventually(() => expect(client.text).toBe('hello '))
  proxy.stall()
  // More than any buffer on the way holds: the sender does not get stuck.
  const much = 'x'.repeat(8_000_000)
  await new Promise<void>((resolve) => client.socket.write(much, () => resolve()))
  for (const socket of echo.sockets) socket.end('bye')
  const late = call(proxy)
  await once(late.socket, 'connect')
  expect(client).toMatchObject({ text: 'hello ', ended: false, closed: false })
  expect(late).toMatchObject({ text: '', closed: false })
  proxy.resume()
  await eventually(() => expect(client).toMatchObject({ text: 'hello bye', ended: true }))
  await eventually(() => expect(late.text).toBe('hello '))
})

it('cuts every connection and takes new ones', async () => {
  await using echo = await startEcho('hello')
  await using proxy = await startProxy(echo)
  const client = call(proxy)
  await eventually(() => expect(client.text).toBe('hello'))
  proxy.cut()
  await eventually(() => expect(client.closed).toBe(true))
  await eventually(() => expect(echo.sockets.size).toBe(0))
  const next = call(proxy)
  await eventually(() => expect(next.text).toBe('hello'))
})

it('cuts while it stalls', async () => {
  await using echo = await startEcho('hello')
  await using proxy = await startProxy(echo)
  const client = call(proxy)
  await eventually(() => expect(client.text).toBe('hello'))
  proxy.stall()
  proxy.cut()
  await eventually(() => expect(client.closed).toBe(true))
  await eventually(() => expect(echo.sockets.size).toBe(0))
})

it('sends new connections to where it was retargeted, and breaks those that find nobody', async () => {
  await using one = await startEcho('one')
  const two = await startEcho('two')
  await using proxy = await startProxy(one)
  const first = call(proxy)
  await eventually(() => expect(first.text).toBe('one'))
  proxy.retarget(two)
  const second = call(proxy)
  await eventually(() => expect(second.text).toBe('two'))
  expect(first.closed).toBe(false)
  await two[Symbol.asyncDispose]()
  await eventually(() => expect(second.closed).toBe(true))
  const third = call(proxy)
  await eventually(() => expect(third.closed).toBe(true))
})

it('brings everything late and in order while the line is bad, stalls now and then, and is quick again', async () => {
  await using echo = await startEcho('')
  await using proxy = await startProxy(echo)
  const client = call(proxy)
  await once(client.socket, 'connect')
  let pieces = 0
  // The third piece of each direction meets a stall.
  proxy.slow({ delayMs: 100, stalls: 0.5, stallMs: 300, random: () => (++pieces === 3 ? 0 : 0.9) })
  const began = performance.now()
  for (const word of ['one ', 'two ', 'three ', 'four']) {
    client.socket.write(word)
    await eventually(() => expect(client.text.endsWith(word)).toBe(true))
  }
  expect(client.text).toBe('one two three four')
  // Four times there and back, and one stall.
  expect(performance.now() - began).toBeGreaterThan(8 * 100 + 300)
  proxy.slow(undefined)
  client.socket.end(' end')
  await eventually(() => expect(client).toMatchObject({ text: 'one two three four end', ended: true }))
})
