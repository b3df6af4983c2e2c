import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { checkPair } from '@damon/trust/certificate-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Shelf } from '../src/shelf.ts'
import { type AcmeSetup, acmeSetup, orderOf } from './acme-setup.ts'
import type { MortalLife } from './fixtures/mortal.ts'

const script = fileURLToPath(new URL('./fixtures/mortal.ts', import.meta.url))
let setup: AcmeSetup

beforeAll(async () => {
  setup = await acmeSetup()
})
afterAll(() => setup[Symbol.asyncDispose]())

/** A process that lives for so many steps of an order. Resolves to those that it took, and to how it ended. */
async function live(course: Pick<MortalLife, 'unfinished' | 'next' | 'steps'>) {
  const state = dirname(setup.file('any'))
  const { directoryUrl: directory, ca } = setup.proxy
  const { token, url } = setup.api
  const { address, port } = setup.names
  const life: MortalLife = { state, directory, ca, api: { token, url }, names: { address, port }, ...course }
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const env = { PATH, HOME, NODE_COMPILE_CACHE, LIFE: JSON.stringify(life) }
  const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 })
  const [said, [code, signal]] = await Promise.all([text(child.stdout!), once(child, 'exit')])
  return { steps: said.split('\n').filter(Boolean), code: code as number | null, signal: signal as string | null }
}

const stored = (id: string) => new Shelf(setup.store).load(id, Date.now())

test('a process that is killed after any single step is succeeded by one that goes on: one certificate, no TXT record left', async () => {
  const before = setup.pebble.issued()
  const whole = await live({ next: 'whole', steps: 1_000 })
  expect(whole).toMatchObject({ code: 0, signal: null })
  expect(setup.pebble.issued()).toBe(before + 1)
  expect(whole.steps).toEqual(expect.arrayContaining(['POST order-plz', 'POST v2/domains', 'POST finalize-order']))
  for (let steps = 1; steps <= whole.steps.length + 1; steps++) {
    const unfinished = steps > 1 ? `killed-${steps - 1}` : undefined
    const next = `killed-${steps}`
    const { steps: taken, signal } = await live({ ...(unfinished && { unfinished }), next, steps })
    const point = `killed after ${taken.join(', ')}`
    expect(taken, point).toEqual(whole.steps.slice(0, steps))
    expect(signal, point).toBe(steps <= whole.steps.length ? 'SIGKILL' : null)
    if (!unfinished) continue
    const names = [`${unfinished}.example.com`]
    expect(checkPair({ ...(await stored(unfinished))!, names, now: Date.now() }).names).toEqual(names)
    const left = setup.api.records('example.com').filter(({ name }) => !name.includes(next))
    expect(left, point).toEqual([])
  }
  expect(await stored(`killed-${whole.steps.length + 1}`)).toBeDefined()
  // One for each order, whenever its first process was killed.
  expect(setup.pebble.issued() - before).toBe(whole.steps.length + 2)
  expect(setup.api.records('example.com')).toEqual([])
}, 240_000)

test('the order that was under way is what is stored, sealed: nothing of its key can be read on disk', async () => {
  const issuer = setup.restart()
  await issuer.issue(orderOf('sealed', ['sub.example.com']), new AbortController().signal)
  const order = Buffer.from((await setup.store.read('order/pebble/sealed'))!).toString()
  expect(order).toContain('PRIVATE KEY')
  expect(await readFile(setup.file('order/pebble/sealed'), 'latin1')).not.toContain('PRIVATE KEY')
  await issuer.settle('sealed')
  expect(await setup.store.read('order/pebble/sealed')).toBeUndefined()
})
