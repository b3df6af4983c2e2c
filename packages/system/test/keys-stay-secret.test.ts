import { createPrivateKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, openSync, readSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { certificates } from '@damon/client/certificates-node'
import { connect } from '@damon/client/connect'
import { eventually } from '@damon/testkit/eventually'
import { startService } from '@damon/testkit/process'
import { startRedis } from '@damon/testkit/redis-server'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, it } from 'vitest'
import { buildHouse, serviceScript } from '../src/house.ts'

const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const deadline = { deadlineMs: 60_000 }

/** The forms in which a private key may lie somewhere: lines of its PEM, base64 without them, its number in hex, base64url and raw. */
function formsOf(pem: string): Buffer[] {
  const lines = pem.split('\n').filter((line) => line !== '' && !line.startsWith('-----'))
  const number = Buffer.from(createPrivateKey(pem).export({ format: 'jwk' }).d!, 'base64url')
  const texts = [...lines, lines.join('').slice(0, 80), number.toString('hex'), number.toString('base64url')]
  return [...texts.filter((text) => text.length > 30).map((text) => Buffer.from(text)), number]
}

function holds(where: Buffer, key: string): boolean {
  return formsOf(key).some((form) => where.includes(form))
}

/** Everything that a Redis is asked from now on. */
async function monitor(port: number) {
  const socket = connectTcp(port, '127.0.0.1')
  await once(socket, 'connect')
  const seen: Buffer[] = []
  socket.on('data', (chunk) => seen.push(chunk))
  socket.write('MONITOR\r\n')
  await once(socket, 'data')
  return { seen: () => Buffer.concat(seen), [Symbol.dispose]: () => void socket.destroy() }
}

/** The processes of a hub: its primary and its workers. */
async function processesOf(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.trim().split(' ').filter(Boolean).map(Number)]
}

/** Whether a key lies anywhere in the memory that a process may write to. */
async function memoryHolds(pid: number, keys: readonly string[]): Promise<boolean[]> {
  const found = keys.map(() => false)
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  for (const line of (await readFile(`/proc/${pid}/maps`, 'utf8')).split('\n')) {
    const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    if (from === '') continue
    const [start, end] = [BigInt(`0x${from}`), BigInt(`0x${to}`)]
    // Pieces overlap, so that nothing hides on the seam.
    for (let at = start; at < end; at += 16n * 1024n * 1024n) {
      const piece = Buffer.alloc(Math.min(Number(end - at), 16 * 1024 * 1024 + 4_096))
      try {
        readSync(memory, piece, 0, piece.length, at as unknown as number)
      } catch {
        // Reserved, not there: what was never touched holds nothing.
        continue
      }
      for (const [index, key] of keys.entries()) found[index] ||= holds(piece, key)
    }
  }
  return found
}

it('the key of a reader is never in Redis, in a log, or in the heap or memory of the hub', {
  timeout: 180_000,
}, async () => {
  await using house = await buildHouse()
  await using redis = await startRedis()
  await using heaps = await temporaryFolder()
  using asked = await monitor(redis.port)
  await using hub = await house.startHub({
    REDIS_URL: redis.url,
    NODE_OPTIONS: `--import=${new URL('../src/heap-snapshot.ts', import.meta.url).href}`,
    HEAP_FOLDER: heaps.path,
  })
  const url = hub.ready.url!
  const config = join(house.folder, 'certificates.yaml')
  const wanted = { issuer: 'local', names: ['edge.test'] }
  await writeFile(config, JSON.stringify({ issuers: { local: { type: 'local' } }, certificates: { edge: wanted } }))
  await using certs = await startService(serviceScript('certs'), {
    CERTS_CONFIG_FILE: config,
    CERTS_STATE_DIR: join(house.folder, 'certs'),
    CERT_STORE_KEY: randomBytes(32).toString('hex'),
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'certs/one', certsRights),
    LOG_LEVEL: 'trace',
  })
  await using bot = await connect(await house.credential(url, 'bot/one', ['cert:edge']))
  await using reader = certificates(bot, 'edge')
  const { key } = await reader.ready(AbortSignal.timeout(deadline.deadlineMs))
  const ownKey = await readFile(join(house.folder, 'hub-key.pem'), 'utf8')

  // What was looked through has seen the delivery, and would have shown a key.
  await eventually(() => expect(asked.seen().toString('latin1')).toContain('cert/bot/'), deadline)
  expect(holds(Buffer.from(key), key)).toBe(true)
  expect(holds(asked.seen(), key)).toBe(false)
  expect(holds(Buffer.from(hub.output + certs.output), key)).toBe(false)
  const processes = await processesOf(hub.pid)
  expect(processes).toHaveLength(3)
  for (const pid of processes) {
    expect({ pid, found: await memoryHolds(pid, [key, ownKey]) }).toEqual({ pid, found: [false, true] })
  }
  const snapshots = async (pids: readonly number[]) => {
    for (const pid of pids) process.kill(pid, 'SIGUSR2')
    for (const pid of pids) {
      const path = join(heaps.path, `${pid}.heapsnapshot`)
      await eventually(() => expect(existsSync(path)).toBe(true), deadline)
      const heap = await readFile(path)
      expect({ pid, other: holds(heap, key), own: holds(heap, ownKey) }).toEqual({ pid, other: false, own: true })
    }
  }
  const [primary = 0, ...workers] = processes
  await snapshots([primary])
  // It would take a worker that writes its heap for one that stands still, and end it.
  process.kill(primary, 'SIGSTOP')
  try {
    await snapshots(workers)
  } finally {
    process.kill(primary, 'SIGCONT')
  }
})
