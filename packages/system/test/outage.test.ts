import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@damon/client/connect'
import type { Hub, HubOptions } from '@damon/client/hub'
import type { RecordChange } from '@damon/client/watch'
import { eventually } from '@damon/testkit/eventually'
import { type RunningService, startProgram } from '@damon/testkit/process'
import { type RedisServer, startRedis } from '@damon/testkit/redis-server'
import { generateKey } from '@damon/trust/keys'
import { signTrustList } from '@damon/trust/trust-list'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const fast = { HUB_HEARTBEAT_MS: '1000', HUB_LEASE_GRACE_MS: '2500' }
/** Where nobody shall be taken for silent, however busy the machine is. */
const steady = { ...fast, HUB_HEARTBEAT_MS: '10000' }
const rights = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*']
/** A busy machine may take its time, above all where processes are started anew. */
const patience = { deadlineMs: 30_000 }

let house: House
const open: AsyncDisposable[] = []
let count = 0

beforeEach(async () => {
  house = await buildHouse()
})
afterEach(async () => {
  // Opened last, closed first: no hub outlives the Redis that it needs.
  for (const resource of open.splice(0).reverse()) await resource[Symbol.asyncDispose]()
  await house[Symbol.asyncDispose]()
})

function keep<T extends AsyncDisposable>(resource: T): T {
  open.push(resource)
  return resource
}

type Client = Hub & { states: string[] }

async function client(url: string, options: HubOptions = {}): Promise<Client> {
  const credential = await house.credential(url, `bot/o${++count}`, rights)
  const states: string[] = []
  const hub = await connect(credential, {
    backoff: { baseMs: 20, maxMs: 200 },
    onState: ({ state, reason }) => states.push(reason ? `${state} ${reason}` : state),
    ...options,
  })
  return Object.assign(keep(hub), { states })
}

/** The process of the worker that holds a client, and those of all. */
async function processes(hub: Hub): Promise<Map<number, number>> {
  const answers = await hub
    .group('hubs')
    .request<{ origin: number; pid: number }>('hub.status', null, { deadline: 1_000 })
  return new Map(answers.flatMap(({ value }) => (value ? [[value.origin, value.pid]] : [])))
}
async function pidOf(hub: Hub): Promise<number> {
  return eventually(async () => {
    const own = (await hub.list(`service/${hub.subject}/`)).find(({ key }) => key.endsWith(`/${hub.session}`))
    const pid = (await processes(hub)).get((own?.value as { worker: number } | undefined)?.worker ?? 0)
    expect(pid).toBeDefined()
    return pid as number
  }, patience)
}

/** Clients of two workers, the second and third of the same. */
async function threeOnTwoWorkers(url: string): Promise<[Client, Client, Client]> {
  const byWorker = new Map<number, Client[]>()
  for (let tries = 0; tries < 40; tries++) {
    const hub = await client(url)
    const pid = await pidOf(hub)
    byWorker.set(pid, [...(byWorker.get(pid) ?? []), hub])
    const [few, many] = [...byWorker.values()].sort((a, b) => a.length - b.length)
    if (few?.[0] && many?.[0] && many[1]) return [few[0], many[0], many[1]]
  }
  throw new Error('All clients are on one worker.')
}

function heard(hub: Hub): unknown[] {
  const values: unknown[] = []
  hub.receive('note', (value) => values.push(value))
  return values
}

async function readiness(hub: RunningService): Promise<[number, unknown]> {
  const response = await fetch(`${hub.ready.metrics}/ready`)
  const { failing } = (await response.json()) as { failing?: unknown }
  return [response.status, failing]
}
const isReady = (hub: RunningService) =>
  eventually(async () => expect(await readiness(hub)).toEqual([200, undefined]), patience)
const saysWhyNot = (hub: RunningService) =>
  eventually(
    async () => expect(await readiness(hub)).toEqual([503, { store: '2 of 2 workers do not reach the store' }]),
    patience,
  )

function isGone(pid: number): void {
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
}

describe('while Redis is away', () => {
  let redis: RedisServer
  let hub: RunningService
  let url: string

  beforeEach(async () => {
    redis = keep(await startRedis())
    hub = keep(await house.startHub({ ...steady, REDIS_URL: redis.url }))
    url = hub.ready.url ?? ''
  })

  it('paused for longer than a lease, nobody is disconnected: sends are refused, records are read, all goes on', {
    timeout: 90_000,
  }, async () => {
    const clients = await threeOnTwoWorkers(url)
    const [far, one, near] = clients
    const got = clients.map((hub) => heard(hub))
    for (const client of clients) await client.join('g')
    await one.put('thing/a', 'before', { lease: true })
    await eventually(async () => expect((await far.get('thing/a'))?.value).toBe('before'))
    const before = await processes(one)

    const everythingSeen = Promise.withResolvers<void>()
    const resumed = redis.pause(7_000, everythingSeen.promise)
    await expect(one.group('g').send('note', 'refused')).rejects.toMatchObject({ code: 'unavailable' })
    expect(got.slice(1)).toEqual([['refused'], ['refused']])
    await saysWhyNot(hub)
    expect((await far.get('thing/a'))?.value).toBe('before')
    await expect(near.join('other')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(near.put('thing/b', 1)).rejects.toMatchObject({ code: 'unavailable' })
    await expect(near.any('g').send('note')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(near.group('g').request('x')).rejects.toMatchObject({ code: 'unavailable' })
    everythingSeen.resolve()
    await resumed

    await isReady(hub)
    await one.group('g').send('note', 'after')
    for (const values of got) await eventually(() => expect(values.at(-1)).toBe('after'))
    await one.patch('thing/a', 'changed')
    await eventually(async () => expect((await far.get('thing/a'))?.value).toBe('changed'))
    await near.join('other')
    expect(await processes(one)).toEqual(before)
    for (const { states } of clients) expect(states).toEqual(['connected'])
    expect(hub.output).not.toMatch(/fenced|died|uncaught/)
  })

  it('killed and started empty, everything heals by itself', { timeout: 120_000 }, async () => {
    const clients = await threeOnTwoWorkers(url)
    const [far, one, near] = clients
    const got = clients.map((hub) => heard(hub))
    for (const client of clients) await client.join('g')
    const announced = one.announce('thing/a', 'mine')
    await announced.ready()
    await one.put('thing/kept', 'for ever')
    const watch = far.watch('thing/')
    await eventually(() => expect(watch.entries.get('thing/a')?.value).toBe('mine'))
    await one.group('g').send('note', 'before')

    await redis.kill()
    await expect(one.group('g').send('note', 'refused')).rejects.toMatchObject({ code: 'unavailable' })
    await eventually(() => expect(got[2]?.at(-1)).toBe('refused'))
    await saysWhyNot(hub)
    expect((await near.get('thing/a'))?.value).toBe('mine')

    await redis.restart()
    await isReady(hub)
    await eventually(
      () => expect(watch.entries.get('thing/a')).toMatchObject({ value: 'mine', state: 'live' }),
      patience,
    )
    await eventually(() => expect(watch.entries.get('thing/kept')?.value).toBe('for ever'), patience)
    expect(hub.output).toContain('kept records were written back')
    const subjects = clients.map(({ subject }) => subject).sort()
    for (const hub of clients) hub.handle('who', () => hub.subject)
    await eventually(async () => {
      const answers = await far.group('g').request('who')
      expect(answers.map(({ value }) => value).sort()).toEqual(subjects)
    }, patience)
    for (const from of clients) {
      const text = `after, from ${from.subject}`
      await from.group('g').send('note', text)
      for (const values of got) await eventually(() => expect(values).toContain(text))
    }
    await eventually(async () => expect((await processes(far)).size).toBe(2), patience)
    expect(hub.output).not.toContain('uncaught')
  })

  it('stopped again and again and started with its data, all that was acknowledged arrives once', {
    timeout: 120_000,
  }, async () => {
    const kept = keep(await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] }))
    const other = keep(await house.startHub({ ...steady, REDIS_URL: kept.url }))
    const clients = await threeOnTwoWorkers(other.ready.url ?? '')
    const got = clients.map((hub) => heard(hub))
    const gaps: unknown[] = []
    for (const client of clients) {
      client.on('gap', (gap) => gaps.push(gap))
      await client.join('g')
    }
    const sent = { acknowledged: [] as string[], refused: [] as string[] }
    let stopped = false
    const sending = clients.map(async (client, i) => {
      for (let number = 1; !stopped; number++) {
        const value = `${i}/${number}`
        await client
          .group('g')
          .send('note', value)
          .then(
            () => sent.acknowledged.push(value),
            () => sent.refused.push(value),
          )
      }
    })
    const progress = async (list: string[]) => {
      const before = list.length
      await eventually(() => expect(list.length).toBeGreaterThan(before + 30), patience)
    }
    for (let round = 0; round < 3; round++) {
      await progress(sent.acknowledged)
      await kept.kill()
      if (round > 0) await progress(sent.refused)
      await kept.restart()
      await isReady(other)
    }
    await progress(sent.acknowledged)
    stopped = true
    await Promise.all(sending)
    for (const values of got) {
      await eventually(() => expect(sent.acknowledged.filter((value) => !values.includes(value))).toEqual([]), patience)
      expect(values.length).toBe(new Set(values).size)
    }
    expect(gaps).toEqual([])
    for (const { states } of clients) expect(states).toEqual(['connected'])
  })

  it('at the start, the hub waits for it, and stops when it is told to', { timeout: 60_000 }, async () => {
    await redis.kill()
    const settings = { ...steady, REDIS_URL: redis.url, HUB_WORKERS: '1' }
    const starting = house.startHub(settings)
    const refused = starting.catch((error: Error) => error)
    const impatient = await house.hubProgram(settings)
    await using program = impatient
    await program.says('does not answer')
    program.signal('SIGTERM')
    expect(await program.exited).toEqual({ code: 0, signal: null })
    await redis.restart()
    const late = await refused
    if (late instanceof Error) throw late
    await using _ = late
    await client(late.ready.url ?? '')
  })
})

describe.each(['cluster', 'redis'])('on the bus %s', (bus) => {
  let env: Record<string, string>

  beforeEach(async () => {
    env = { ...fast }
    if (bus === 'redis') env.REDIS_URL = keep(await startRedis()).url
  })

  it('a worker that stands still is replaced, its sessions go on elsewhere, and what they announce stays', {
    timeout: 90_000,
  }, async () => {
    // Who calls again may be given to the worker that stands still, and waits there until it is killed.
    const hub = keep(await house.startHub({ ...env, HUB_LEASE_GRACE_MS: '15000' }))
    const [owner, watcher] = await threeOnTwoWorkers(hub.ready.url ?? '')
    await owner.announce('thing/a', 'mine').ready()
    const watch = watcher.watch('thing/')
    const changes: RecordChange[] = []
    await watch.ready()
    watch.on('change', (change) => changes.push(change))
    const frozen = await pidOf(owner)
    process.kill(frozen, 'SIGSTOP')
    const session = owner.session
    await eventually(() => {
      expect(owner.states).toContain('reconnecting silent')
      expect(owner.states.at(-1)).toBe('connected')
    }, patience)
    expect(owner.session).toBe(session)
    await eventually(() => isGone(frozen), patience)
    await eventually(async () => {
      const pids = [...(await processes(watcher)).values()]
      expect(pids).toHaveLength(2)
      expect(pids).not.toContain(frozen)
    }, patience)
    await eventually(async () => expect(await watcher.get('thing/a')).toMatchObject({ value: 'mine', state: 'live' }))
    expect(changes.map(({ type }) => type)).not.toContain('drop')
    expect(hub.output).toContain('a worker stands still and is killed')
  })

  it('workers end with their primary, however that ended, and leave the port', { timeout: 60_000 }, async () => {
    const hub = await house.startHub(env)
    const url = hub.ready.url ?? ''
    const pids = await processes(await client(url))
    expect(pids.size).toBe(2)
    hub.signal('SIGKILL')
    await hub.exited
    for (const pid of pids.values()) await eventually(() => isGone(pid))
    const next = keep(await house.startHub({ ...env, HUB_PORT: new URL(url).port }))
    expect(next.ready.url).toBe(url)
  })

  it('a hub that is told to stop tells its clients, and has in the log what it accepted', {
    timeout: 60_000,
  }, async () => {
    const hub = keep(await house.startHub(env))
    // On one machine the log ends with the hub: there the receiver has to be faster.
    const other = bus === 'redis' ? keep(await house.startHub(env)) : hub
    const receiver = await client(other.ready.url ?? '', { groups: ['g'] })
    const sender = await client(hub.ready.url ?? '')
    const got = heard(receiver) as number[]
    const accepted: number[] = []
    for (let i = 0; i < 3_000; i++) {
      sender
        .group('g')
        .send('note', i)
        .then(
          () => accepted.push(i),
          () => undefined,
        )
      if (i % 100 === 0) await new Promise(setImmediate)
      if (i === 1_500) hub.signal('SIGTERM')
    }
    expect(await hub.exited).toEqual({ code: 0, signal: null })
    expect(accepted.length).toBeGreaterThan(0)
    await eventually(() => expect(sender.states.slice(0, 2)).toEqual(['connected', 'reconnecting restarting']))
    if (bus === 'redis') await eventually(() => expect(got).toEqual(expect.arrayContaining(accepted)))
    expect(hub.output).not.toMatch(/uncaught|cannot close/)
    for (const hub of [sender, receiver]) await hub.close()
  })
})

describe('a hub refuses to start', () => {
  it('on a port that is in use, and says so', async () => {
    const hub = keep(await house.startHub({ HUB_WORKERS: '1' }))
    const { port } = new URL(hub.ready.url ?? '')
    await using program = await house.hubProgram({ HUB_WORKERS: '1', HUB_PORT: port })
    expect(await program.exited).toEqual({ code: 1, signal: null })
    expect(program.output).toContain('EADDRINUSE')
    expect(program.output).toContain(port)
  })

  it('with a configuration that is not valid, and lists all that is wrong with it', async () => {
    await using program = startProgram(serviceScript('hub'), {
      HUB_PORT: 'eight',
      HUB_WORKERS: '0',
      HUB_ROOT_KEY: '{"kty":"RSA"}',
      HUB_HEARTBEAT_MS: '5',
      REDIS_URL: 'secret!',
    })
    expect(await program.exited).toEqual({ code: 78, signal: null })
    const wrong = ['HUB_PORT', 'HUB_WORKERS', 'HUB_ROOT_KEY', 'HUB_HEARTBEAT_MS', 'REDIS_URL']
    for (const name of wrong) expect(program.output).toMatch(new RegExp(`^ {2}${name} (must|is)`, 'm'))
    for (const name of ['HUB_TLS_CERT', 'HUB_TLS_KEY', 'HUB_TRUST'])
      expect(program.output).toContain(`${name} is required (or ${name}_FILE)`)
    expect(program.output).not.toContain('secret!')
  })

  it('with a trust list for development, unless that is allowed', async () => {
    const [root, issuer] = await Promise.all([generateKey(), generateKey()])
    const issuers = [{ kid: 'dev', x: issuer.publicKey.x, sub: '*', can: ['*'] }]
    const trust = await signTrustList(root.privateKey, { aud: 'damon:test', seq: 1, dev: true, issuers })
    const files = {
      HUB_WORKERS: '1',
      HUB_TRUST_FILE: join(house.folder, 'dev.jws'),
      HUB_ROOT_KEY_FILE: join(house.folder, 'dev.json'),
    }
    await writeFile(files.HUB_TRUST_FILE, trust)
    await writeFile(files.HUB_ROOT_KEY_FILE, JSON.stringify(root.publicKey))
    await using program = await house.hubProgram(files)
    expect(await program.exited).toEqual({ code: 1, signal: null })
    expect(program.output).toContain('The trust list is for development.')
    await using allowed = await house.startHub({ ...files, ALLOW_DEV_KEYS: '1' })
    expect(allowed.ready.url).toMatch(/^wss:/)
  })

  it('with an older trust list than one that counted before, wherever that was', async () => {
    const [root, issuer] = await Promise.all([generateKey(), generateKey()])
    const issuers = [{ kid: 'one', x: issuer.publicKey.x, sub: '*', can: ['*'] }]
    const files = {
      HUB_WORKERS: '1',
      HUB_STATE_DIR: join(house.folder, 'trust-state'),
      HUB_TRUST_FILE: join(house.folder, 'rolled-back.jws'),
      HUB_ROOT_KEY_FILE: join(house.folder, 'rolled-back.json'),
    }
    const list = async (seq: number) =>
      writeFile(files.HUB_TRUST_FILE, await signTrustList(root.privateKey, { aud: 'damon:test', seq, issuers }))
    await writeFile(files.HUB_ROOT_KEY_FILE, JSON.stringify(root.publicKey))
    await list(1)
    {
      await using hub = await house.startHub(files)
      await list(2)
      await hub.says('a new trust list counts')
    }
    await list(1)
    await using program = await house.hubProgram(files)
    expect(await program.exited).toEqual({ code: 1, signal: null })
    expect(program.output).toContain('The trust list has seq 1, but one with 2 counted before')
  })

  it('with a trust list that the pinned root did not sign', async () => {
    const path = join(house.folder, 'other.json')
    await writeFile(path, JSON.stringify((await generateKey()).publicKey))
    await using program = await house.hubProgram({ HUB_ROOT_KEY_FILE: path })
    expect(await program.exited).toEqual({ code: 1, signal: null })
    expect(program.output).toContain('bad_trust_list')
  })
})
