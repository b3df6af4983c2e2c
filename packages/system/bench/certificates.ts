import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { parseArgs } from 'node:util'
import { type CertificateReader, certificates } from '@damon/client/certificates-node'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import type { CertificateHub } from '@damon/client/reader-session-node'
import { eventually } from '@damon/testkit/eventually'
import { type RunningService, startService } from '@damon/testkit/process'
import { buildHouse, serviceScript } from '../src/house.ts'
import { cpuMs, familyOf } from './processes.ts'

const usage = `npm run bench:certs [-- --readers N] [--renewals N]

  --readers N    readers, each with a key and a TLS server of its own (1000)
  --renewals N   certificates, one after another (3)

Times from the moment certs says that a certificate is issued: until every reader has it (push), and until certs
has every reader's proof that its server shows it (served). The first certificate finds readers that certs does not
know yet: it includes what it takes to verify them. The processor time of the three sides tells what the wall clock
of a busy machine hides.
`

/** Readers on one connection: a session may have 64 watches. */
const perConnection = 50
const certsRights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const patience = { deadlineMs: 300_000 }

const { values } = parseArgs({
  options: {
    readers: { type: 'string', default: '1000' },
    renewals: { type: 'string', default: '3' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) process.stdout.write(usage)
else await main(Number(values.readers), Number(values.renewals))
// The servers of the readers, and what still waits for a hub that is gone.
process.exit(0)

async function main(count: number, renewals: number): Promise<void> {
  await using house = await buildHouse()
  await using hub = await house.startHub()
  const url = hub.ready.url!
  const certsEnv = {
    CERTS_CONFIG_FILE: join(house.folder, 'certificates.yaml'),
    CERTS_STATE_DIR: join(house.folder, 'certs'),
    CERT_STORE_KEY: randomBytes(32).toString('hex'),
    DAMON_CONNECTION_FILE: await house.connectionFile(url, 'certs/one', certsRights),
  }
  /** Each round wants one name more, so that a new certificate is due at once. */
  const want = async (round: number): Promise<void> => {
    const names = Array.from({ length: round + 1 }, (_, index) => `edge-${index}.test`)
    const wanted = { issuers: { local: { type: 'local' } }, certificates: { edge: { issuer: 'local', names } } }
    await writeFile(join(house.folder, 'certificates.yaml'), JSON.stringify(wanted))
  }
  await using operator = await connect(await house.credential(url, 'operator/one', ['ask:group/certs:certs.list']))
  const hubs: Hub[] = []
  for (let made = 0; made < count; made += perConnection) {
    hubs.push(await connect(await house.credential(url, `bot/${hubs.length}`, ['cert:edge'])))
  }
  const readers: CertificateReader[] = []
  for (let index = 0; index < count; index++) readers.push(await startReader(hubs[index % hubs.length]!))
  const [cpu] = cpus()
  console.log(
    `${cpu?.model}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`,
  )
  console.log(`${count} readers on ${hubs.length} connections, certs on one core, hub with 2 workers, no canary\n`)
  await using stack = new AsyncDisposableStack()
  let certs: RunningService | undefined
  for (let round = 0; round < renewals; round++) {
    const before = cpuOf(hub, certs)
    const arrivals = Promise.all(readers.map((reader) => arrival(reader)))
    await want(round)
    if (certs) certs.signal('SIGHUP')
    else certs = stack.use(await startService(serviceScript('certs'), certsEnv))
    const last = Math.max(...(await arrivals))
    const issued = lastIssued(certs)
    const push = last - issued
    await eventually(async () => {
      const [answer] = await operator.group('certs').request('certs.list', null, { deadline: 60_000 })
      const list = answer?.value as { readers: { served: boolean }[] }[]
      const served = list[0]?.readers.filter((one) => one.served).length
      if (served !== count) throw new Error(`${served} of ${count} readers serve it`)
    }, patience)
    const all = Date.now() - issued
    const spent = cpuOf(hub, certs).map((ms, side) => seconds(ms - (before[side] ?? 0)))
    const cpu = `processor time: hub ${spent[0]}, certs ${spent[1]}, readers ${spent[2]}`
    console.log(`certificate ${round + 1}: push ${seconds(push)}, served ${seconds(all)}; ${cpu}`)
  }
  await Promise.all(hubs.map((one) => one.close()))
}

/** A reader with a key of its own, although it shares its connection, and a server that shows its certificate. */
async function startReader(shared: Hub): Promise<CertificateReader> {
  const hub: CertificateHub = {
    credential: shared.credential,
    subject: shared.subject,
    announce: (key, value) => shared.announce(key, value),
    watch: (prefix) => shared.watch(prefix),
  }
  const server = createServer((socket) => socket.end())
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const reader = certificates(hub, 'edge')
  reader.on('refused', (error) => console.error(error.message))
  reader.attach(server)
  return reader
}

/** When a reader has its next certificate, Unix ms. */
function arrival(reader: CertificateReader): Promise<number> {
  return new Promise((resolve) => {
    const listening = reader.on('change', () => {
      listening[Symbol.dispose]()
      resolve(Date.now())
    })
  })
}

/** When certs says that the last certificate was issued, Unix ms. */
function lastIssued({ output }: RunningService): number {
  const line = output.split('\n').findLast((text) => text.includes('"issued"'))
  return Date.parse(JSON.parse(line ?? '{}').time)
}

/** Processor time so far of hub (all its processes), certs and readers, ms. */
function cpuOf(hub: RunningService, certs: RunningService | undefined): [number, number, number] {
  return [cpuMs(familyOf([hub.pid])), certs ? cpuMs([certs.pid]) : 0, cpuMs([process.pid])]
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}
