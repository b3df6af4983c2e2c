import type { Answer } from '@damon/client/answer'
import { Hub } from '@damon/client/hub'
import { Random } from '@damon/testkit/random'
import { generateKey } from '@damon/trust/keys'
import { mintToken } from '@damon/trust/token'
import { expect, it } from 'vitest'
import { dialler } from './simulation/dialler.ts'
import type { Line } from './simulation/line.ts'
import { Machine } from './simulation/machine.ts'
import { usual } from './simulation/run.ts'
import { VirtualTime } from './simulation/virtual-time.ts'

const times = { graceMs: 15_000, awayMs: 2_000, resumeMs: 60_000 }
const weather = { ...usual.weather, clientMs: 6, busMs: 3 }
const heartbeatMs = 2_000
const { privateKey } = await generateKey()

async function member(name: string, dial: () => Line | undefined, groups = ['g']): Promise<Hub> {
  const iat = Math.floor(Date.now() / 1000)
  const claims = {
    aud: 'simulation',
    sub: `bot/${name}`,
    can: ['send:*'],
    iat,
    exp: iat + 3_600,
    jti: name,
  }
  const token = await mintToken({ kid: 'k', key: privateKey }, claims)
  const credential = {
    damon: 1 as const,
    urls: ['wss://hub.test'],
    aud: 'simulation',
    root: {} as never,
    trust: '',
    token,
  }
  const options = { groups, timeoutMs: 60_000, backoff: { baseMs: 50, maxMs: 500 } }
  const hub = new Hub(credential, options, dialler(dial))
  hub.on('error', () => undefined)
  hub.on('gap', () => undefined)
  hub.start()
  return hub
}

/** What became of one request, and what was asked. */
interface Told {
  answers: Answer[] | undefined
  any: boolean
  error: unknown
}

/** Workers die, freeze and lose lines while everybody asks everybody; afterwards all is quiet for long. */
async function run(seed: number, faults: { kill: number; freeze: number; cut: number }) {
  const random = new Random(seed)
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  using time = new VirtualTime(() => random.next())
  const machine = new Machine({ workers: 3, times, random, weather })
  await time.pass(1_000)
  const hubs = await Promise.all(names.map((name) => member(name, () => machine.crowd.dial())))
  /** How often a handler ran for a request. */
  const runs = new Map<string, number>()
  for (const hub of hubs)
    hub.handle('q', async (id, { signal }) => {
      const key = `${id} ${hub.subject}`
      runs.set(key, (runs.get(key) ?? 0) + 1)
      const dice = random.next()
      if (dice < 0.1) throw new Error('not today')
      // Some never answer, some take longer than their requester waits.
      if (dice < 0.8) await new Promise((resolve) => setTimeout(resolve, random.next() * 2_000))
      else if (dice < 0.9) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      return hub.subject
    })
  await time.pass(2_000)
  const told: Told[] = []
  for (let step = 0; step < 250; step++) {
    const any = random.next() < 0.2
    const to = any ? random.pick(hubs).any('g') : random.pick(hubs).group('g')
    const options = { deadline: 3_000, quorum: random.next() < 0.2 ? 2 : 0, idempotent: random.next() < 0.5 }
    const asked: Told = { answers: undefined, any, error: undefined }
    const request = to.request('q', String(told.length), options)
    told.push(asked)
    request.then(
      (answers) => {
        asked.answers = answers
      },
      (error) => {
        asked.error = error
      },
    )
    if (random.next() < 0.1) setTimeout(() => request.cancel(), random.next() * 1_000)
    await time.pass(random.next() * 60)
    const worker = machine.crowd.workers.length > 0 ? random.pick(machine.crowd.workers) : undefined
    const line = worker && worker.lines.length > 0 ? random.pick(worker.lines) : undefined
    if (random.next() < faults.cut) line?.cut()
    if (worker && random.next() < faults.kill) machine.crowd.kill(worker)
    if (worker && random.next() < faults.freeze) {
      worker.freeze()
      setTimeout(() => worker.thaw(), random.next() * 3_000)
    }
  }
  await time.pass(60_000)
  const closing = Promise.all(hubs.map((hub) => hub.close()))
  await time.pass(10_000)
  await closing
  machine.close()
  await time.pass(5_000)
  return { told, runs }
}

function check(seed: number, { told, runs }: Awaited<ReturnType<typeof run>>, quiet: boolean): Map<string, number> {
  const verdicts = new Map<string, number>()
  for (const [id, { answers, any, error }] of told.entries()) {
    // Refused as a whole, or every receiver accounted for; never neither.
    if (error !== undefined) {
      expect({ seed, id, quiet, error }).toMatchObject({ quiet: false, error: { name: 'DamonError' } })
      continue
    }
    expect({ seed, id, answers }).toMatchObject({ answers: expect.any(Array) })
    const sessions = (answers ?? []).map(({ session }) => session)
    expect({ seed, id, sessions }).toEqual({ seed, id, sessions: [...new Set(sessions)] })
    if (quiet) expect({ seed, id, count: sessions.length }).toEqual({ seed, id, count: any ? 1 : 6 })
    for (const { verdict, value } of answers ?? []) {
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1)
      if (verdict === 'answered') expect(runs.get(`${id} ${value}`)).toBe(1)
    }
  }
  for (const [key, count] of runs) expect({ seed, key, count }).toEqual({ seed, key, count: 1 })
  return verdicts
}

it('whoever dies, comes back or gives up, each receiver has exactly one verdict, and no handler runs twice', {
  timeout: 180_000,
}, async () => {
  const all = new Map<string, number>()
  for (let seed = 1; seed <= 4; seed++) {
    const verdicts = check(seed, await run(seed, { kill: 0.02, freeze: 0.01, cut: 0.05 }), false)
    for (const [verdict, count] of verdicts) all.set(verdict, (all.get(verdict) ?? 0) + count)
  }
  // Whatever receivers and requesters do was done by some; who is gone for good is in the test below.
  expect([...all.keys()]).toEqual(expect.arrayContaining(['answered', 'failed', 'timed_out', 'not_needed']))
})

it('while nobody dies every member is accounted for in every request', { timeout: 60_000 }, async () => {
  for (let seed = 1; seed <= 2; seed++) check(seed, await run(seed, { kill: 0, freeze: 0, cut: 0 }), true)
})

it('of 1,000 receivers of which a tenth falls silent each has its verdict as soon as the hub can know', {
  timeout: 120_000,
}, async () => {
  const random = new Random(1)
  using time = new VirtualTime(() => random.next())
  const machine = new Machine({ workers: 2, times, random, weather })
  await time.pass(1_000)
  const asker = await member('asker', () => machine.crowd.dial(), [])
  await time.pass(1_000)
  const lines: (Line | undefined)[] = []
  let silent = false
  // The machines of a tenth die: their lines say nothing more, and nobody comes back.
  const dial = (i: number) => (): Line | undefined => {
    if (silent && i < 100) return undefined
    lines[i] = machine.crowd.dial()
    return lines[i]
  }
  const hubs = await Promise.all(Array.from({ length: 1_000 }, (_, i) => member(`m${i}`, dial(i))))
  for (const hub of hubs) hub.handle('q', () => hub.subject)
  await time.pass(5_000)
  silent = true
  for (const line of lines.slice(0, 100)) line?.hang()
  const began = performance.now()
  let settled: { after: number; answers: Answer[] } | undefined
  asker
    .group('g')
    .request('q', '1', { deadline: 240_000 })
    .then((answers) => {
      settled = { after: performance.now() - began, answers }
    })
  await time.pass(12_000)
  const count = (verdict: string) => settled?.answers.filter((answer) => answer.verdict === verdict).length
  expect([count('answered'), count('disconnected')]).toEqual([900, 100])
  // Silence, the time in which a session may come back, and a sweep.
  expect(settled?.after).toBeLessThan(1.5 * heartbeatMs + times.awayMs + 1_500)
  const closing = Promise.all([asker, ...hubs].map((hub) => hub.close()))
  await time.pass(15_000)
  await closing
  machine.close()
  await time.pass(5_000)
})
