import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DeliveredCertificate } from '@damon/client/certificates-node'
import { createLogger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, onTestFinished, test } from 'vitest'
import { CertificateFolder } from '../src/folder.ts'
import { Placement } from '../src/placement.ts'

const log = createLogger({ service: 'cert-agent', level: 'silent' })
const pause = { next: () => 0, reset() {} }

function certificate(version: number): DeliveredCertificate {
  const fingerprint = String(version).padStart(64, '0')
  const dates = { notBefore: new Date(0), notAfter: new Date(1) }
  return { key: `key ${version}`, chain: `chain ${version}`, fingerprint, version, names: ['edge.test'], ...dates }
}

/** What the SDK's reader does for a placement, by hand. */
class HandReader {
  current: DeliveredCertificate | undefined
  readonly proven: number[] = []
  readonly #listeners = new Set<() => void>()

  on = (_event: string, listener: (value: never) => void): Disposable => {
    const own = listener as () => void
    this.#listeners.add(own)
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) }
  }

  prove = async () => {
    this.proven.push(this.current!.version)
  }

  deliver(version: number): void {
    this.current = certificate(version)
    for (const listener of this.#listeners) listener()
  }
}

async function setup(path: string, reader = new HandReader()) {
  const folder = await CertificateFolder.open(path, 0o600)
  const reloads: string[] = []
  const failures: Error[] = []
  const reload = async () => {
    reloads.push(await readFile(join(folder.current, 'combined.pem'), 'utf8'))
    const failure = failures.shift()
    if (failure) throw failure
  }
  const servedAt = { host: 'localhost', port: 443 }
  const placement = new Placement({ id: 'edge', reader, folder, reload, servedAt, pause, log })
  const ending = new AbortController()
  const running = placement.run(ending.signal)
  const stop = async () => {
    ending.abort()
    await running
  }
  onTestFinished(stop)
  return { reader, folder, reloads, failures, placement, stop }
}

test('each new certificate is put there, reloaded once and proven', async () => {
  await using temporary = await temporaryFolder()
  const agent = await setup(temporary.path)
  expect(agent.placement.problem).toBe('no certificate yet')
  agent.reader.deliver(1)
  await eventually(() => expect(agent.reader.proven).toEqual([1]))
  agent.reader.deliver(2)
  await eventually(() => expect(agent.reader.proven).toEqual([1, 2]))
  expect(agent.reloads).toEqual(['key 1\nchain 1\n', 'key 2\nchain 2\n'])
  expect(agent.placement.problem).toBeUndefined()
})

test('the same certificate delivered again, or after a restart, is not reloaded', async () => {
  await using temporary = await temporaryFolder()
  const first = await setup(temporary.path)
  first.reader.deliver(1)
  await eventually(() => expect(first.reader.proven).toEqual([1]))
  first.reader.current = { ...certificate(1), version: 9 }
  await first.stop()
  const second = await setup(temporary.path)
  second.reader.deliver(1)
  await eventually(() => expect(second.reader.proven).toEqual([1]))
  expect(second.reloads).toEqual([])
})

test('a reload that fails is tried again until it works, and what is wrong is told meanwhile', async () => {
  await using temporary = await temporaryFolder()
  const agent = await setup(temporary.path)
  agent.failures.push(new Error('nginx is not running'), new Error('still not'))
  agent.reader.deliver(1)
  await eventually(() => expect(agent.reader.proven).toEqual([1]))
  expect(agent.reloads).toHaveLength(3)
  expect(agent.placement.problem).toBeUndefined()
})

test('a reload that a crash prevented is made up for at the next start, before any delivery', async () => {
  await using temporary = await temporaryFolder()
  const folder = await CertificateFolder.open(temporary.path, 0o600)
  await folder.put(certificate(1))
  const agent = await setup(temporary.path)
  await eventually(() => expect(agent.reloads).toEqual(['key 1\nchain 1\n']))
  await eventually(async () => expect(await agent.folder.needsReload()).toBe(false))
})

test('files that cannot be written are a problem that passes when they can', async () => {
  await using temporary = await temporaryFolder()
  const agent = await setup(temporary.path)
  const put = agent.folder.put.bind(agent.folder)
  let full = true
  agent.folder.put = async (one) => {
    if (full) throw new Error('no space left')
    return put(one)
  }
  agent.reader.deliver(1)
  await eventually(() => expect(agent.placement.problem).toBe('no space left'))
  full = false
  await eventually(() => expect(agent.reader.proven).toEqual([1]))
})
