import { expect, it } from 'vitest'
import { RedisSubscriber } from '../src/redis/subscriber.ts'
import { Line } from './simulation/line.ts'
import { connectorOver } from './simulation/redis/connector.ts'
import { SimulatedRedis } from './simulation/redis/server.ts'
import { VirtualTime } from './simulation/virtual-time.ts'

it('is not ended by an earlier subscription to the same channel that failed', async () => {
  using time = new VirtualTime(() => 0.5)
  const server = new SimulatedRedis()
  const Connector = connectorOver(() => {
    const line = new Line(() => 1)
    server.serve(line.far)
    return line
  })
  const came: string[] = []
  const place = { url: 'redis://redis.test', prefix: 'test:', Connector }
  const message = (_: string, message: Buffer) => void came.push(message.toString())
  const subscriber = new RedisSubscriber({ place, message, changed: () => undefined })
  const connected = subscriber.connect()
  await time.pass(100)
  await connected
  server.stand()
  const first = subscriber.subscribe('c').catch(() => 'failed')
  await time.pass(600)
  subscriber.unsubscribe('c')
  const second = subscriber.subscribe('c')
  await time.pass(600)
  expect(await first).toBe('failed')
  server.move()
  await time.pass(100)
  await second
  server.run(['PUBLISH', 'c', 'it came'])
  await time.pass(100)
  expect(came).toEqual(['it came'])
  subscriber.close()
})
