import { readFile } from 'node:fs/promises'
import { checkPair } from '@damon/trust/certificate-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ChallengeRecords } from '../src/challenge-records.ts'
import { systemClock } from '../src/clock.ts'
import { Ledger } from '../src/ledger.ts'
import { Shelf } from '../src/shelf.ts'
import { type AcmeSetup, acmeSetup, orderOf, quiet } from './acme-setup.ts'

const names = ['example.com']
let setup: AcmeSetup

beforeAll(async () => {
  setup = await acmeSetup()
})
afterAll(() => setup[Symbol.asyncDispose]())

/** Everything that a process does to the world outside it, and what happens after so many of these steps: nothing more. */
class Life {
  readonly #dying = new AbortController()
  steps: string[] = []
  #left: number

  constructor(steps: number) {
    this.#left = steps
  }

  get signal(): AbortSignal {
    return this.#dying.signal
  }

  /** A step has been taken. The last one takes effect, but nobody learns of it. */
  took(step: string): void {
    this.#dying.signal.throwIfAborted()
    this.steps.push(step)
    this.#left -= 1
    if (this.#left > 0) return
    this.#dying.abort(new Error('killed'))
    throw this.#dying.signal.reason
  }

  /** The object as a mortal process has it: after each of these calls it may be dead, and when it is, none gets through. */
  give<T extends object>(object: T, methods: readonly (keyof T & string)[]): T {
    return new Proxy(object, {
      get: (target, name, receiver) => {
        const value = Reflect.get(target, name, target === receiver ? receiver : target)
        if (typeof value !== 'function') return value
        if (!methods.includes(name as keyof T & string)) return value.bind(target)
        return async (...args: unknown[]) => {
          this.#dying.signal.throwIfAborted()
          const result = await value.apply(target, args)
          this.took(`${String(name)} ${String(args[0])}`)
          return result
        }
      },
    })
  }
}

/** One process: an attempt from the first step to the certificate in the store. Resolves to whether it got there. */
async function attempt(id: string, life: Life): Promise<boolean> {
  const store = life.give(setup.store, ['write', 'remove', 'create'])
  const dns = life.give(setup.dns, ['addTxt', 'removeTxt'])
  const records = new ChallengeRecords({ store, dns, log: quiet })
  const ledger = new Ledger({ store, issuer: id, clock: systemClock, counts: true })
  const issuer = setup.restart({ store, dns, records, ledger })
  const shelf = new Shelf(store)
  setup.proxy.onCall = ({ resource, method }) => {
    if (method !== 'POST') return
    try {
      life.took(`POST ${resource}`)
    } catch {
      // Dead: the answer goes to nobody.
    }
  }
  try {
    const pair = await issuer.issue(orderOf(id, names), life.signal)
    await shelf.add(id, pair, { issuer: 'pebble', names }, Date.now())
    await issuer.settle(id)
    return true
  } catch (error) {
    if (!life.signal.aborted) throw error
    return false
  }
}

test('a process that is killed after any single step goes on where it was: one certificate, no TXT record left', async () => {
  const before = setup.pebble.issued()
  const whole = new Life(Infinity)
  expect(await attempt('whole', whole)).toBe(true)
  expect(setup.pebble.issued()).toBe(before + 1)
  expect(whole.steps.length).toBeGreaterThan(15)
  for (let steps = 1; ; steps++) {
    const id = `killed-${steps}`
    const issued = setup.pebble.issued()
    const life = new Life(steps)
    const got = await attempt(id, life)
    const stored = await new Shelf(setup.store).load(id, Date.now())
    if (!stored) expect(await attempt(id, new Life(Infinity)), `after ${life.steps.at(-1)}`).toBe(true)
    expect(setup.pebble.issued() - issued, `after ${life.steps.at(-1)}`).toBe(1)
    const certificate = await new Shelf(setup.store).load(id, Date.now())
    expect(checkPair({ ...certificate!, names, now: Date.now() }).names).toEqual(names)
    await setup.records.sweep()
    expect(setup.api.records('example.com'), `after ${life.steps.at(-1)}`).toEqual([])
    if (got) break
  }
}, 120_000)

test('the order that was under way is what is stored, sealed: nothing of its key can be read on disk', async () => {
  const life = new Life(Infinity)
  const store = life.give(setup.store, ['write'])
  const issuer = setup.restart({ store })
  await issuer.issue(orderOf('sealed', ['sub.example.com']), life.signal)
  const order = Buffer.from((await setup.store.read('order/pebble/sealed'))!).toString()
  expect(order).toContain('PRIVATE KEY')
  expect(await readFile(setup.file('order/pebble/sealed'), 'latin1')).not.toContain('PRIVATE KEY')
  expect(life.steps.indexOf('write order/pebble/sealed')).toBeGreaterThanOrEqual(0)
  await issuer.settle('sealed')
  expect(await setup.store.read('order/pebble/sealed')).toBeUndefined()
})
