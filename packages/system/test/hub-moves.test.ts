import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect } from '@damon/client/connect'
import { eventually } from '@damon/testkit/eventually'
import { FakeDigitalOcean } from '@damon/testkit/fake-digitalocean'
import { onFreePorts } from '@damon/testkit/free-port'
import { startService } from '@damon/testkit/process'
import { expect, it, onTestFinished } from 'vitest'
import { buildHouse, serviceScript } from '../src/house.ts'

const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']

it('a hub that moves to another address is found there by its name, at the first attempt after the record has changed', {
  timeout: 120_000,
}, async () => {
  await using house = await buildHouse()
  await using api = await FakeDigitalOcean.start({ zones: ['example.test'] })
  // What the world sees as the address of the hub's machine.
  let address = '127.0.0.1'
  const echo = createServer((_, response) => response.end(`${address}\n`))
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  onTestFinished(() => void echo.close())
  const from = `http://127.0.0.1:${(echo.address() as AddressInfo).port}/`
  const addresses = { 'hub.example.test': { from, families: [4], every: 1 } }
  await writeFile(join(house.folder, 'certificates.yaml'), JSON.stringify({ issuers: {}, certificates: {}, addresses }))
  const published = () => api.records('example.test').map(({ data }) => data)

  await onFreePorts(1, async ([port]) => {
    const start = (host: string) => house.startHub({ HUB_PORT: String(port), HUB_HOST: host })
    const first = await start('127.0.0.1')
    await using certs = await startService(serviceScript('certs'), {
      CERTS_CONFIG_FILE: join(house.folder, 'certificates.yaml'),
      CERTS_STATE_DIR: join(house.folder, 'certs'),
      CERT_STORE_KEY: randomBytes(32).toString('hex'),
      DAMON_CONNECTION_FILE: await house.connectionFile(`wss://localhost:${port}`, 'certs/one', certsRights),
      DIGITALOCEAN_TOKEN: api.token,
      DIGITALOCEAN_URL: api.url,
    })
    await eventually(() => expect(published()).toEqual(['127.0.0.1']), { deadlineMs: 30_000 })
    const resolved: string[] = []
    // The name resolves to what is published at that moment; `localhost` is only what the certificate of the house is for.
    await using client = await connect(
      await house.credential(`wss://localhost:${port}`, 'bot/one', ['get:service/*']),
      {
        backoff: { baseMs: 100, maxMs: 1_000 },
        lookup: (_, __, callback) => {
          const [now = '127.0.0.1'] = published()
          resolved.push(now)
          callback(null, [{ address: now, family: 4 }])
        },
      },
    )
    expect(resolved).toEqual(['127.0.0.1'])
    await first[Symbol.asyncDispose]()
    await using _second = await start('127.0.0.2')
    address = '127.0.0.2'
    await certs.says('"the address has changed"')
    await eventually(() => expect(client.state).toBe('connected'), { deadlineMs: 30_000 })
    expect(published()).toEqual(['127.0.0.2'])
    expect(resolved.filter((one) => one === '127.0.0.2')).toHaveLength(1)
    expect(await client.list('service/bot/')).toHaveLength(1)
  })
})
