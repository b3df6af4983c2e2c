import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@damon/client/connect'
import type { Hub, HubOptions } from '@damon/client/hub'
import { eventually } from '@damon/testkit/eventually'
import { onFreePorts } from '@damon/testkit/free-port'
import { startRedis } from '@damon/testkit/redis-server'
import { generateKey, type PrivateJwk } from '@damon/trust/keys'
import { signTrustList, type TrustList } from '@damon/trust/trust-list'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { childrenOf, kill, Machine, runs } from '../faults/machine.ts'
import { damon } from '../src/damon.ts'
import { buildHouse, type House } from '../src/house.ts'

const patience = { deadlineMs: 60_000 }
const rights = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*']

let house: House
beforeAll(async () => {
  house = await buildHouse()
})
afterAll(() => house[Symbol.asyncDispose]())

type Client = Hub & { reasons: string[] }

async function client(urls: string | string[], sub: string, options: HubOptions & { identity?: PrivateJwk } = {}) {
  const [url = ''] = [urls].flat()
  const { identity, ...rest } = options
  const credential = await house.credential(url, sub, rights, identity ? { identity } : {})
  const reasons: string[] = []
  const hub = await connect(
    { ...credential, urls: [urls].flat() },
    {
      backoff: { baseMs: 50, maxMs: 500 },
      onState: ({ state, reason }) => void (state === 'reconnecting' && reasons.push(reason ?? '')),
      ...rest,
    },
  )
  return Object.assign(hub, { reasons }) as Client
}

async function sessionsOfWorkers(hub: Hub): Promise<number[]> {
  const answers = await hub.group('hubs').request<{ sessions: number }>('hub.status', null, { deadline: 5_000 })
  return answers.map(({ value }) => value?.sessions ?? 0)
}

it('SIGHUP replaces four workers under 2,000 clients, who all go when they are asked and end up in equal shares', {
  timeout: 300_000,
}, async () => {
  await using hub = await house.startHub({ HUB_WORKERS: '4', HUB_PLAIN_PORT: '0', LOG_LEVEL: 'warn' })
  const url = (hub.ready.plain ?? '').replace('127.0.0.1', 'localhost')
  const { privateKey: identity } = await generateKey()
  const clients: Client[] = []
  while (clients.length < 2_000) {
    const some = Array.from({ length: 50 }, (_, i) => `bot/c${clients.length + i}`)
    clients.push(...(await Promise.all(some.map((sub) => client(url, sub, { identity })))))
  }
  const old = childrenOf(hub.pid)
  hub.signal('SIGHUP')
  await eventually(() => expect(childrenOf(hub.pid).filter((pid) => old.includes(pid))).toEqual([]), {
    deadlineMs: 180_000,
  })
  await eventually(async () => {
    const text = await (await fetch(`${hub.ready.metrics}/metrics`)).text()
    expect(text).toContain('damon_hub_rolls_total{result="done"} 1')
  }, patience)
  const [one] = clients
  await eventually(async () => {
    for (const { state } of clients) expect(state).toBe('connected')
    const shares = await sessionsOfWorkers(one!)
    expect(shares.reduce((sum, count) => sum + count, 0)).toBe(2_000)
    expect(shares).toHaveLength(4)
    expect(Math.max(...shares) / Math.min(...shares)).toBeLessThanOrEqual(1.15)
  }, patience)
  // Nobody was cut off: each was asked, once by the worker that went and at most some times more to even out.
  const reasons = clients.flatMap((hub) => hub.reasons)
  expect(reasons.filter((reason) => reason === 'goaway').length / reasons.length).toBeGreaterThan(0.95)
  for (const { reasons } of clients) expect(reasons.length).toBeGreaterThan(0)
  expect(hub.output).not.toMatch(/uncaught|fenced|died/)
  await Promise.all(clients.map((hub) => hub.close()))
})

it('`damon hub roll` does the same for an operator who may, and is refused to others', {
  timeout: 120_000,
}, async () => {
  await using hub = await house.startHub()
  const url = hub.ready.url ?? ''
  const old = childrenOf(hub.pid)
  const refused = await damon(['hub', 'roll'], {
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'operator/two', ['ask:group/hubs:hub.status']),
  })
  expect(refused).toMatchObject({ code: 77 })
  expect(childrenOf(hub.pid)).toEqual(old)
  const done = await damon(['hub', 'roll'], {
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'operator/one', ['ask:group/hubs']),
  })
  expect(done).toMatchObject({ code: 0, output: expect.stringMatching(/^2 workers replaced: w\d+, w\d+$/m) })
  expect(childrenOf(hub.pid).filter((pid) => old.includes(pid))).toEqual([])
})

it('a worker that crashes at its start, again and again, does not take the port down; nor does a roll to such workers', {
  timeout: 120_000,
}, async () => {
  const key = join(house.folder, 'fragile-key.pem')
  await copyFile(house.tls.keyFile, key)
  const slow = join(house.folder, 'starts-are-slow')
  const preload = `if ((await import('node:fs')).existsSync(${JSON.stringify(slow)}))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500)`
  const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(preload)}`
  await using hub = await house.startHub({ HUB_WORKERS: '3', HUB_TLS_KEY_FILE: key, NODE_OPTIONS })
  const url = hub.ready.url ?? ''
  await using stays = await client(url, 'bot/stays')
  const good = await readFile(key, 'utf8')
  await writeFile(key, 'no key at all\n')

  hub.signal('SIGHUP')
  await hub.says('the old ones go on')
  expect(stays.reasons).toEqual([])

  // On a busy machine it takes its time until it crashes.
  await writeFile(slow, '')
  const [victim] = childrenOf(hub.pid)
  kill(victim!, 'SIGKILL')
  await eventually(
    () => expect(hub.output.match(/the worker cannot start/g)?.length).toBeGreaterThanOrEqual(4),
    patience,
  )
  // Its delays grow.
  const delays = [...hub.output.matchAll(/"delayMs":(\d+)/g)].map(([, ms]) => Number(ms))
  expect(delays.slice(-3)).toEqual([...delays.slice(-3)].sort((a, b) => a - b))
  expect(delays.at(-1)).toBeGreaterThanOrEqual(400)
  for (let times = 0; times < 6; times++) await (await client(url, `bot/later-${times}`)).close()

  await writeFile(key, good)
  await rm(slow)
  await eventually(async () => expect(await sessionsOfWorkers(stays)).toHaveLength(3), patience)
})

it('SIGTERM lets clients go to the other hub within their slots, and the hub ends when they have gone', {
  timeout: 120_000,
}, async () => {
  await using redis = await startRedis()
  await using second = await house.startHub({ REDIS_URL: redis.url })
  const first = await house.startHub({ REDIS_URL: redis.url, HUB_PEERS: second.ready.url ?? '' })
  const urls = [first, second].map(({ ready }) => ready.url ?? '')
  const clients = await Promise.all(Array.from({ length: 10 }, (_, i) => client(urls, `bot/t${i}`)))
  first.signal('SIGTERM')
  expect(await first.exited).toEqual({ code: 0, signal: null })
  await eventually(() => {
    for (const { state, reasons } of clients) expect([state, reasons]).toEqual(['connected', ['goaway']])
  }, patience)
  expect(await sessionsOfWorkers(clients[0]!).then((counts) => counts.reduce((sum, count) => sum + count, 0))).toBe(10)
  await Promise.all(clients.map((hub) => hub.close()))
})

it('a hub whose primary is killed is started by its supervisor, on the same port, and its clients come back', {
  timeout: 120_000,
}, async () => {
  await onFreePorts(1, async ([port]) => {
    await using machine = await Machine.start(house, 'supervised', port!, {
      HUB_WORKERS: '2',
      HUB_STATE_DIR: join(house.folder, 'supervised'),
    })
    await using hub = await client(`wss://localhost:${port}`, 'bot/one')
    for (let times = 2; times <= 3; times++) {
      const workers = machine.workers
      kill(machine.service.pid, 'SIGKILL')
      await eventually(() => {
        expect(machine.starts).toBe(times)
        expect(hub.state).toBe('connected')
      }, patience)
      await machine.whole(2)
      // No worker outlives its primary.
      await eventually(() => expect(workers.filter(runs)).toEqual([]), patience)
      await hub.client('bot', 'one').send('note', times)
    }
  })
})

it('a changed trust list counts without a restart: for new sessions, for living ones, and for workers that start later', {
  timeout: 120_000,
}, async () => {
  const [root, issuer, other] = await Promise.all([generateKey(), generateKey(), generateKey()])
  const path = join(house.folder, 'changing.jws')
  const list = async (seq: number, more: Partial<TrustList>) =>
    writeFile(path, await signTrustList(root.privateKey, { aud: 'damon:test', seq, issuers: [one], ...more }))
  const one = { kid: 'one', x: issuer.publicKey.x, sub: '*', can: ['*'] }
  const two = { kid: 'two', x: other.publicKey.x, sub: 'bot/*', can: ['*'] }
  const rootFile = join(house.folder, 'changing-root.json')
  await writeFile(rootFile, JSON.stringify(root.publicKey))
  await list(1, {})
  await using hub = await house.startHub({ HUB_TRUST_FILE: path, HUB_ROOT_KEY_FILE: rootFile })
  const url = hub.ready.url ?? ''
  const by = (kid: string, key: PrivateJwk) => async (sub: string) =>
    connect(await house.credential(url, sub, rights, { issuer: { kid, key } }), { backoff: { baseMs: 50, maxMs: 500 } })
  const ofOne = by('one', issuer.privateKey)
  const ofTwo = by('two', other.privateKey)

  await using stays = await ofOne('bot/stays')
  const revoked = await ofOne('bot/revoked')
  await expect(ofTwo('bot/new')).rejects.toMatchObject({ code: 'bad_token' })

  await list(2, { issuers: [one, two], revoked: { subs: ['bot/revoked'] } })
  await eventually(() => expect(revoked.state).toBe('closed'), patience)
  await expect(ofOne('bot/revoked')).rejects.toMatchObject({ code: 'token_revoked' })
  const late = await eventually(() => ofTwo('bot/new'), patience)
  expect(stays.state).toBe('connected')

  // An older one is refused, also by a worker that starts now.
  await list(1, {})
  await hub.says('the trust list of the file is refused')
  for (const pid of childrenOf(hub.pid)) kill(pid, 'SIGKILL')
  await eventually(() => expect([late.state, stays.state]).toEqual(['connected', 'connected']), patience)
  await (await ofTwo('bot/newer')).close()

  // An issuer that is gone takes its sessions with it.
  await list(3, { issuers: [one] })
  await eventually(() => expect(late.state).toBe('closed'), patience)
  expect(stays.state).toBe('connected')
})
