import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../packages/client/src/connect.ts'
import { eventually } from '../../packages/testkit/src/eventually.ts'
import { freePort } from '../../packages/testkit/src/free-port.ts'
import { type TemporaryFolder, temporaryFolder } from '../../packages/testkit/src/temporary-folder.ts'
import { Operator } from './operator.ts'

const services = ['cert-agent', 'certs', 'hub', 'lavalink', 'redis', 'sidecar']

// Instead of Let's Encrypt, which knows no test names.
const localCertificates = `
issuers:
  local: { type: local }
certificates:
  edge: { issuer: local, names: [edge.test, "*.edge.test"] }
`

describe('both profiles on a real engine', () => {
  let folder: TemporaryFolder
  let operator: Operator
  let hubPort: number
  let nodePort: number

  beforeAll(async () => {
    folder = await temporaryFolder()
    hubPort = await freePort()
    nodePort = await freePort()
    operator = await Operator.withSettings({
      DAMON_HOME: join(folder.path, 'home'),
      DAMON_SECRETS: join(folder.path, 'secrets'),
      HUB_NAME: 'hub.test',
      NODE_ADDRESS: '127.0.0.1',
      DIGITALOCEAN_TOKEN: 'the local issuer does not use it',
      HUB_PUBLISH: `127.0.0.1:${hubPort}`,
      LAVALINK_PUBLISH: `127.0.0.1:${nodePort}`,
      NODE_PORT: String(nodePort),
      // As much as an engine without CAP_SYS_RESOURCE may give.
      NOFILE: '16384',
      COMPOSE_FILE: 'docker-compose.yml:docker/test/compose.yml',
      COMPOSE_PROJECT_NAME: `damon-test-${randomBytes(4).toString('hex')}`,
      DAMON_VERSION: 'test',
    })
    await operator.run('docker', 'compose', 'version').catch((error) => {
      throw new Error('This test needs a running Docker engine and `docker compose`.', { cause: error })
    })
    await operator.follow('2. Keys')
    await operator.follow('3. Secrets of the hub')
    await writeFile(join(folder.path, 'secrets', 'certs.yaml'), localCertificates)
    await operator.follow('4. The hub')
    await operator.follow('5. Secrets of a VPS')
    await operator.follow('6. The VPS')
    await operator.follow('7. A bot, and a look')
  })

  afterAll(async () => {
    await operator?.compose('down', '--volumes', '--timeout', '5')
    await folder?.[Symbol.asyncDispose]()
  })

  const containers = async () => {
    const ids = (await operator.compose('ps', '--all', '--quiet')).trim().split('\n')
    const inspected = await operator.inspect(...ids)
    return new Map(inspected.map((one) => [one.Config.Labels['com.docker.compose.service'], one]))
  }

  /** A bot's connection file for the port that the hub is published on here. */
  const botFile = async () => {
    const file = join(folder.path, `bot-${randomBytes(4).toString('hex')}.json`)
    const ca = join(folder.path, 'secrets', 'hub-tls.crt')
    const url = `wss://localhost:${hubPort}`
    const mint = ['damon', 'token', 'mint', 'bot/test', '--profile', 'bot', '--out', file, '--url', url, '--ca', ca]
    await operator.run('npx', ...mint)
    return file
  }

  it('becomes healthy', async () => {
    await eventually(
      async () => {
        const states = [...(await containers())].map(
          ([name, { State }]) => `${name} ${State.Status} ${State.Health.Status}`,
        )
        expect(states.toSorted()).toEqual(services.map((name) => `${name} running healthy`))
      },
      { deadlineMs: 60_000 },
    )
  })

  it('runs every container without root, capabilities, a writable file system or boundless resources', async () => {
    for (const [name, { Config, HostConfig }] of await containers()) {
      expect({ name, ...Config, ...HostConfig }).toMatchObject({
        name,
        User: expect.stringMatching(/^[1-9]\d*:1000$/),
        Privileged: false,
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        CapAdd: null,
        SecurityOpt: ['no-new-privileges:true'],
        LogConfig: { Config: { 'max-size': '10m', 'max-file': '3' } },
        RestartPolicy: { Name: 'unless-stopped' },
      })
      expect(HostConfig.Memory).toBeGreaterThan(0)
      expect(HostConfig.PidsLimit).toBeGreaterThan(0)
    }
  })

  it('lets a bot outside find the audio server and the password that opens it', async () => {
    await using bot = await connect(await botFile())
    const nodes = bot.watch('node/')
    await nodes.ready()
    const node = await eventually(() => {
      const value = nodes.entries.get('node/audio-1')?.value
      expect(value).toMatchObject({ state: 'ready', address: { host: '127.0.0.1', port: nodePort, secure: false } })
      return value as { address: { host: string; port: number } }
    })
    const secret = (await bot.get('node-secret/audio-1'))?.value
    const { password } = secret as { password: string }
    const url = `http://${node.address.host}:${node.address.port}/v4/info`
    expect((await fetch(url, { headers: { authorization: password } })).status).toBe(200)
    expect((await fetch(url, { headers: { authorization: 'wrong' } })).status).toBe(403)
  })

  it('puts a certificate from certs into the volume of the node', async () => {
    const script = `
      const { X509Certificate } = require('node:crypto')
      const chain = require('node:fs').readFileSync('/state/edge/current/fullchain.pem')
      console.log(new X509Certificate(chain).subjectAltName)
    `
    const names = await eventually(() => operator.compose('exec', '-T', 'cert-agent', 'node', '-e', script), {
      deadlineMs: 30_000,
    })
    expect(names.trim()).toBe('DNS:edge.test, DNS:*.edge.test')
  })

  it('shows no secret in logs, environment or arguments', async () => {
    const logs = await operator.compose('logs', '--no-color')
    const inspected = JSON.stringify([...(await containers()).values()])
    const read = (name: string) => readFile(join(folder.path, 'secrets', name), 'utf8')
    const connections = await Promise.all(['certs.json', 'sidecar.json', 'cert-agent.json'].map(read))
    const secrets = [
      /:([0-9a-f]+)@/.exec(await read('redis-url'))?.[1],
      (await read('lavalink-password')).trim(),
      (await read('cert-store-key')).trim(),
      (await read('hub-tls.key')).split('\n')[1],
      'the local issuer does not use it',
      ...connections.flatMap((text) => {
        const { token, identity } = JSON.parse(text)
        return [token, identity.d]
      }),
    ]
    expect(logs).toContain('"service":"hub"')
    for (const secret of secrets) {
      expect(secret?.length).toBeGreaterThan(20)
      expect(logs).not.toContain(secret)
      expect(inspected).not.toContain(secret)
    }
  })

  it('starts no Redis on an empty password', async () => {
    const file = join(folder.path, 'secrets', 'redis-url')
    const good = await readFile(file, 'utf8')
    await writeFile(file, 'redis://:@redis:6379\n')
    const starting = operator.compose('run', '--rm', '--no-deps', '-T', 'redis')
    await expect(starting).rejects.toThrow(/64 or more hexadecimal digits/)
    await writeFile(file, good)
  })

  it('comes back by itself when its main process is killed, and so does the bot', async () => {
    await using bot = await connect(await botFile())
    // From inside, as the user that it runs as: the child of the init.
    const kill = `
      const { readdirSync, readFileSync } = require('node:fs')
      for (const pid of readdirSync('/proc').filter((name) => /^\\d+$/.test(name))) {
        if (/\\) \\w 1 /.test(readFileSync('/proc/' + pid + '/stat', 'utf8'))) process.kill(+pid, 'SIGKILL')
      }
    `
    const reconnected = Promise.withResolvers<void>()
    let lost = false
    bot.on('state', ({ state }) => {
      if (state === 'reconnecting') lost = true
      if (state === 'connected' && lost) reconnected.resolve()
    })
    await operator.compose('exec', '-T', 'hub', 'node', '-e', kill)
    await reconnected.promise
    const nodes = bot.watch('node/')
    await eventually(() => expect(nodes.entries.has('node/audio-1')).toBe(true), { deadlineMs: 30_000 })
  })

  it('ends every container in order when it is stopped', async () => {
    await operator.follow('8. An end')
    for (const [name, { State }] of await containers()) {
      expect({ name, ...State }).toMatchObject({ name, Status: 'exited', ExitCode: 0 })
    }
  })
})
