import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { startRedis } from '../src/redis-server.ts'

/** One command in Redis' inline form, and the first answer. */
async function ask(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const text = await askOn(socket, command)
  socket.destroy()
  return text
}

async function askOn(socket: Socket, command: string): Promise<string> {
  socket.write(`${command}\r\n`)
  const [bytes] = await once(socket, 'data')
  return String(bytes).trimEnd()
}

async function isAlive(pid: number): Promise<boolean> {
  return access(`/proc/${pid}/cmdline`).then(
    () => true,
    () => false,
  )
}

it('is a real Redis that is gone when disposed', async () => {
  let pid: number
  {
    await using redis = await startRedis()
    pid = redis.pid
    expect(await ask(redis.port, 'PING')).toBe('+PONG')
    expect(redis.url).toBe(`redis://127.0.0.1:${redis.port}`)
  }
  expect(await isAlive(pid)).toBe(false)
})

it('runs beside another one', async () => {
  await using one = await startRedis()
  await using two = await startRedis()
  expect(await ask(one.port, 'SET who one')).toBe('+OK')
  expect(await ask(two.port, 'GET who')).toBe('$-1')
})

it('breaks its connections when killed, and comes back on the same port with what it had on disk', async () => {
  await using redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const { pid } = redis
  const socket = connect(redis.port, '127.0.0.1').on('error', () => {})
  expect(await askOn(socket, 'SET who me')).toBe('+OK')
  const closed = once(socket, 'close')
  await redis.kill()
  await closed
  await redis.restart()
  expect(redis.pid).not.toBe(pid)
  expect(await ask(redis.port, 'GET who')).toBe('$2\r\nme')
})

it('answers only after a pause', async () => {
  await using redis = await startRedis()
  const order: string[] = []
  const paused = redis.pause(100).then(() => order.push('running again'))
  await ask(redis.port, 'PING').then(() => order.push('answered'))
  await paused
  expect(order).toEqual(['running again', 'answered'])
})

it('says why it cannot start', async () => {
  await expect(startRedis({ args: ['--no-such-setting', 'x'] })).rejects.toThrow(/FATAL CONFIG FILE ERROR/)
})
