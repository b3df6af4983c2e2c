import { randomBytes } from 'node:crypto'
import { cp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '@damon/testkit/eventually'
import { type RunningService, startProgram, startService } from '@damon/testkit/process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildHouse, type House, serviceScript } from '../src/house.ts'

const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const storeKey = randomBytes(32).toString('hex')
const testMs = 60_000

let house: House
let hub: RunningService
let certs: RunningService
let operator: string
let path: string

beforeAll(async () => {
  house = await buildHouse()
  hub = await house.startHub({})
  operator = await house.connectionFile(hub.ready.url!, 'operator/one', ['ask:group/certs:certs.*'])
  path = join(house.folder, 'certs')
  await wish({ home: ['home.test'] })
  certs = await startCerts(path)
})

afterAll(async () => {
  await certs?.[Symbol.asyncDispose]()
  await hub?.[Symbol.asyncDispose]()
  await house?.[Symbol.asyncDispose]()
})

function wish(names: Record<string, string[]>): Promise<void> {
  const certificates = Object.fromEntries(
    Object.entries(names).map(([id, list]) => [id, { issuer: 'own', names: list }]),
  )
  return writeFile(`${path}.yaml`, JSON.stringify({ issuers: { own: { type: 'local' } }, certificates }))
}

async function startCerts(state: string): Promise<RunningService> {
  return startService(serviceScript('certs'), {
    CERTS_CONFIG_FILE: `${path}.yaml`,
    CERTS_STATE_DIR: state,
    CERT_STORE_KEY: storeKey,
    DAMON_CONNECTION_FILE: await house.connectionFile(hub.ready.url!, 'certs/one', certsRights),
  })
}

/** What `damon` says, and how it ends. */
async function damon(...args: string[]): Promise<{ code: number | null; output: string }> {
  const program = startProgram(serviceScript('cli'), { DAMON_CONNECTION_FILE: operator }, args)
  const { code } = await program.exited
  return { code, output: program.output }
}

async function fingerprint(): Promise<string> {
  const { output } = await damon('certs', '--json')
  return JSON.parse(output)[0].fingerprint
}

test(
  'the plan says what will happen and when, why explains a certificate, and what is not there is said to be',
  async () => {
    await eventually(async () => expect(await fingerprint()).toHaveLength(64))
    const plan = await damon('certs', 'plan')
    expect(plan).toMatchObject({
      code: 0,
      output: expect.stringMatching(/home +\d{4}-\d\d-\d\d .* UTC +that part of its life is over +own/),
    })
    const [{ why, exempt }] = JSON.parse((await damon('certs', 'plan', '--json')).output).certificates
    expect({ why, exempt }).toEqual({ why: 'renewal', exempt: false })
    expect((await damon('certs', 'why', 'home')).output).toMatch(/home is good until .* UTC\.\s+Next attempt/)
    expect(await damon('certs', 'why', 'gone')).toMatchObject({
      output: expect.stringContaining('no certificate "gone"'),
    })
  },
  testMs,
)

test(
  'a revoked certificate is replaced by one with a new key, and why tells of it',
  async () => {
    const before = await fingerprint()
    expect(await damon('certs', 'revoke', 'home')).toMatchObject({
      code: 64,
      output: expect.stringContaining('--reason'),
    })
    const { code, output } = await damon('certs', 'revoke', 'home', '--reason', 'keyCompromise')
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining(before.slice(0, 16)) })
    await eventually(async () => expect(await fingerprint()).not.toBe(before))
  },
  testMs,
)

test(
  'a changed file is taken over while it runs; a bad one is not, and the plan says what is wrong with it',
  async () => {
    await wish({ home: ['home.test'], other: ['other.test'] })
    certs.signal('SIGHUP')
    await eventually(async () => expect((await damon('certs', 'plan')).output).toContain('other.test'))
    await writeFile(`${path}.yaml`, '{"issuers": {}, "certificates": {"home": {"issuer": "gone", "names": ["a b"]}}}')
    certs.signal('SIGHUP')
    await eventually(async () => {
      const { output } = await damon('certs', 'plan')
      expect(output).toContain('other.test')
      expect(output).toContain('The file was changed and not taken over')
      expect(output).toContain('names issuer "gone"')
      expect(output).toContain('"a b" is no DNS name')
    })
  },
  testMs,
)

test(
  'a copy of the state folder is a backup: what is started on it has the same certificate and orders nothing',
  async () => {
    await wish({ home: ['home.test'] })
    const before = await fingerprint()
    await cp(path, `${path}-backup`, { recursive: true })
    await certs[Symbol.asyncDispose]()
    certs = await startCerts(`${path}-backup`)
    await eventually(async () => expect(await fingerprint()).toBe(before))
    expect(certs.output).not.toContain('"issued"')
  },
  testMs,
)
