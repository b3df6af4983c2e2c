import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { servedFingerprint } from '@damon/client/served-certificate-node'
import { certReader } from '@damon/protocol/records'
import { eventually } from '@damon/testkit/eventually'
import { onFreePorts } from '@damon/testkit/free-port'
import { type Authority, createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { verifyReceipt } from '@damon/trust/reader'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Certifier, startCertifier } from '../src/certifier.ts'
import { buildHouse, type House } from '../src/house.ts'

const certsRights = ['issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const names = ['localhost', 'hub.test']
const testMs = 60_000
/** So many handshakes in a row meet every worker: they take turns. */
const handshakes = 12

let house: House
let authority: Authority

beforeAll(async () => {
  house = await buildHouse()
  authority = await createAuthority({ name: 'another authority than that of the files', now: Date.now(), days: 30 })
})
afterAll(() => house[Symbol.asyncDispose]())

const issue = () => issueLeaf(authority, { names, now: Date.now(), days: 10 })

/** Every fingerprint that a hub shows. */
async function shown(port: number): Promise<string[]> {
  const seen: string[] = []
  for (let times = 0; times < handshakes; times++) seen.push(await servedFingerprint({ host: '127.0.0.1', port }))
  return [...new Set(seen)]
}

/** Starts a hub that is its own reader, on a port that stays its own. */
async function ownReader(port: number, state: string, connection: string, workers = '2') {
  return house.startHub({
    HUB_PORT: String(port),
    HUB_WORKERS: workers,
    HUB_STATE_DIR: state,
    HUB_CONNECTION_FILE: connection,
    HUB_LEASE_GRACE_MS: '1000',
  })
}

/** The hub's own connection. Its port is that by which others come; the hub goes to its own. */
const ownConnection = () => house.connectionFile('wss://localhost:1', 'hub/one', ['cert:hub'])

/** A client that trusts the house and the other authority. */
async function client(port: number, sub: string, can: string[], name = 'localhost'): Promise<Hub> {
  const credential = await house.credential(`wss://${name}:${port}`, sub, can)
  const ca = `${credential.ca}\n${authority.certificate}`
  return connect({ ...credential, ca }, { lookup: (_, __, callback) => callback(null, [loopback]) })
}
const loopback = { address: '127.0.0.1', family: 4 }

async function certifier(port: number): Promise<Certifier> {
  const credential = await house.credential(`wss://localhost:${port}`, 'certs/one', certsRights)
  return startCertifier({ ...credential, ca: `${credential.ca}\n${authority.certificate}` })
}

it('the hub changes its certificate on all workers while it runs, is called by the new names, and proves it', {
  timeout: testMs,
}, async () => {
  await onFreePorts(1, async ([port]) => {
    await using hub = await ownReader(port!, join(house.folder, 'own-1'), await ownConnection(), '3')
    await using certs = await certifier(port!)
    await using before = await client(port!, 'bot/before', ['get:cert-reader/*'])
    const { session } = before
    const [first] = await shown(port!)
    await eventually(async () => expect(await certs.readers('hub')).toHaveLength(1))
    for (const _ of [1, 2]) {
      const fingerprint = await certs.deliver('hub', await issue())
      await eventually(async () => expect(await shown(port!)).toEqual([fingerprint]))
      expect(fingerprint).not.toBe(first)
      await using after = await client(port!, 'bot/after', [], 'hub.test')
      expect(after.state).toBe('connected')
      await eventually(async () => {
        const [reader] = await certs.readers('hub')
        const record = certReader.parse((await before.get(`cert-reader/${reader!.name}`))?.value)
        expect(await verifyReceipt(record.receipts!, reader!)).toMatchObject({ hub: { fingerprint } })
      })
    }
    expect(before.session).toBe(session)
    expect(before.state).toBe('connected')
    expect(hub.output).not.toContain('a worker died')
  })
})

it('a worker that is replaced, and a hub that starts while certs is down, show the certificate that was delivered', {
  timeout: testMs,
}, async () => {
  await onFreePorts(1, async ([port]) => {
    const state = join(house.folder, 'own-2')
    const connection = await ownConnection()
    let fingerprint = ''
    {
      await using hub = await ownReader(port!, state, connection)
      await using certs = await certifier(port!)
      await eventually(async () => expect(await certs.readers('hub')).toHaveLength(1))
      fingerprint = await certs.deliver('hub', await issue())
      await eventually(async () => expect(await shown(port!)).toEqual([fingerprint]))
      const pids = await workersOf(hub.pid)
      process.kill(pids[0]!, 'SIGKILL')
      await eventually(async () => {
        expect(await workersOf(hub.pid)).toHaveLength(2)
        expect(await workersOf(hub.pid)).not.toContain(pids[0])
        expect(await shown(port!)).toEqual([fingerprint])
      })
    }
    await using _hub = await ownReader(port!, state, connection)
    await eventually(async () => expect(await shown(port!)).toEqual([fingerprint]))
  })
})

it('a hub whose delivered certificate has ended goes back to its files by itself, and from there to the next delivery', {
  timeout: testMs,
}, async () => {
  await onFreePorts(1, async ([port]) => {
    await using hub = await ownReader(port!, join(house.folder, 'own-3'), await ownConnection())
    await using certs = await certifier(port!)
    const [ofFiles] = await shown(port!)
    await eventually(async () => expect(await certs.readers('hub')).toHaveLength(1))
    const seconds = 15
    const brief = await issueLeaf(authority, { names, now: Date.now(), days: seconds / 86_400 })
    const fingerprint = await certs.deliver('hub', brief)
    await eventually(async () => expect(await shown(port!)).toEqual([fingerprint]))
    await hub.says('back to that of the files')
    await eventually(async () => expect(await shown(port!)).toEqual([ofFiles]))
    await using _client = await connect(await house.credential(`wss://localhost:${port}`, 'bot/fresh', []))
    const next = await certs.deliver('hub', await issue())
    await eventually(async () => expect(await shown(port!)).toEqual([next]))
  })
})

/** The processes that a process has started. */
async function workersOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.trim().split(' ').filter(Boolean).map(Number)
}
