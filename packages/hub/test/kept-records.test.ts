import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, it } from 'vitest'
import { type Kept, openKept } from '../src/embedded/kept.ts'
import { EmbeddedState } from '../src/embedded/state.ts'

const writer = fileURLToPath(new URL('./fixtures/kept-writer.ts', import.meta.url))
const nothing = () => undefined

function open(kept: Kept, unreserved: (error: unknown) => void = nothing): EmbeddedState {
  const audience = { batch: nothing, change: nothing, gone: nothing, over: nothing, release: nothing, ended: nothing }
  return new EmbeddedState({
    kept,
    times: { graceMs: 1_000, awayMs: 1_000, resumeMs: 5_000 },
    now: () => 0,
    unreserved,
    audience,
  })
}

/** Lets the writer write that many records, kills it, and returns all that it said. */
async function writeUntilKilled(file: string, records: number): Promise<string[][]> {
  const child = spawn(process.execPath, [writer, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said: string[][] = []
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    said.push(line.split(' '))
    if (said.length === records) child.kill('SIGKILL')
  })
  await once(lines, 'close')
  return said
}

it('survive a process that is killed while it writes, and no revision or origin is used again', async () => {
  await using folder = await temporaryFolder()
  const file = join(folder.path, 'records.sqlite')
  let origin = 0
  let revision = 0
  for (const records of [20, 130, 71]) {
    const said = await writeUntilKilled(file, records)
    const latest = new Map<string, { value: string; revision: number }>()
    for (const [what, key = '', value = '', number] of said) {
      if (what === 'origin') {
        expect(Number(key)).toBeGreaterThan(origin)
        origin = Number(key)
        continue
      }
      expect(Number(number)).toBeGreaterThan(revision)
      revision = Number(number)
      latest.set(key, { value, revision })
    }
    using kept = openKept(file)
    const state = open(kept)
    const stored = new Map(state.snapshot().records.map((record) => [record.key, record]))
    expect(stored.has('lease')).toBe(false)
    for (const [key, { value, revision }] of latest) {
      const record = stored.get(key)
      // The one that was under way when it was killed may be there, or not.
      expect(record?.revision).toBeGreaterThanOrEqual(revision)
      if (record?.revision === revision) expect(record.value).toBe(value)
    }
    origin = state.admit()
    const next = state.put({ owner: '', subject: 'a', key: 'mark', value: '', leased: false })
    expect(next).toHaveProperty('revision')
    if ('revision' in next) {
      expect(next.revision).toBeGreaterThan(revision)
      revision = next.revision
    }
  }
})

it('are refused while the disk takes nothing, and nothing else suffers', () => {
  const problems: unknown[] = []
  const disk = { full: false }
  const real = openKept(':memory:')
  const write = (does: () => void) => {
    if (disk.full) throw new Error('database or disk is full')
    does()
  }
  const kept: Kept = {
    load: () => real.load(),
    put: (record) => write(() => real.put(record)),
    drop: (key) => write(() => real.drop(key)),
    reserve: (revision) => write(() => real.reserve(revision)),
    origin: (number) => write(() => real.origin(number)),
    trusted: (root) => real.trusted(root),
    trust: (root, seq) => write(() => real.trust(root, seq)),
    [Symbol.dispose]: () => real[Symbol.dispose](),
  }
  using _ = kept
  const state = open(kept, (error) => problems.push(error))
  const put = (key: string, leased: boolean) => state.put({ owner: 's', subject: 'bot/a', key, value: '1', leased })
  disk.full = true
  expect(() => state.admit()).toThrow('disk is full')
  disk.full = false
  const origin = state.admit()
  state.openSession(origin, { session: 's', subject: 'bot/a', channels: [] })
  disk.full = true

  expect(() => put('kept', false)).toThrow('disk is full')
  expect(state.snapshot().records).toEqual([])
  expect(put('leased', true)).toHaveProperty('revision')
  expect(problems.length).toBeGreaterThan(0)
  state.endSession('s', 'lost')
  expect(state.snapshot().records).toMatchObject([{ key: 'leased', state: 'suspect' }])

  disk.full = false
  const before = problems.length
  expect(put('kept', false)).toHaveProperty('revision')
  expect(problems.length).toBe(before)
  expect(real.load().revision).toBeGreaterThanOrEqual(state.snapshot().revision)
})
