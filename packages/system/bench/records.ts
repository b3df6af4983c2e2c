import { availableParallelism, cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { limits } from '@damon/protocol/limits'
import { buildHouse, type House } from '../src/house.ts'
import { openRaw, type RawClient } from '../src/raw-client.ts'
import { cpuMs, familyOf } from './processes.ts'
import { quantile } from './statistics.ts'

const usage = `npm run bench:records [-- --records N] [--watchers N] [--changes N]

  --records N    leased records, over as many connections as they need (50000)
  --watchers N   connections that watch all of them (200)
  --changes N    changes, one after another (200)

How long a snapshot of all records takes beside the other watchers, and how long a change takes until the last watcher
has it, from the moment that it is written. Writers, watchers and the hub share the machine.
`

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '50000' },
    watchers: { type: 'string', default: '200' },
    changes: { type: 'string', default: '200' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) process.stdout.write(usage)
else await main(Number(values.records), Number(values.watchers), Number(values.changes))
// What still waits for a hub that is gone.
process.exit(0)

async function main(records: number, watchers: number, changes: number): Promise<void> {
  await using house = await buildHouse()
  // The lines below say nothing, and shall not be taken for dead.
  await using hub = await house.startHub({ HUB_HEARTBEAT_MS: '300000' })
  const url = hub.ready.url!
  const load = loadavg()[0]?.toFixed(1)
  console.log(`${cpus()[0]?.model}, ${availableParallelism()} cores, load ${load}, Node ${process.version}`)
  console.log(`${records} records, ${watchers} watchers, hub with ${process.env.HUB_WORKERS ?? 2} workers\n`)
  const writers: Hub[] = []
  const began = performance.now()
  for (let made = 0; made < records; made += limits.recordsPerSession) {
    const credential = await house.credential(url, `node/${writers.length}`, ['put:rec/*'])
    const writer = await connect(credential, { timeoutMs: 120_000 })
    writers.push(writer)
    const count = Math.min(limits.recordsPerSession, records - made)
    const keys = Array.from({ length: count }, (_, i) => `rec/${made + i}`)
    await Promise.all(keys.map((key) => writer.put(key, { state: 'ready', players: 12, key }, { lease: true })))
  }
  console.log(`written in ${seconds(performance.now() - began)}`)

  const lines: RawClient[] = []
  const spent = cpuMs(familyOf([hub.pid]))
  const attached = performance.now()
  for (let i = 0; i < watchers - 1; i++) lines.push(await attach(house, url, i))
  const each = (performance.now() - attached) / Math.max(1, watchers - 1)
  const cpu = (cpuMs(familyOf([hub.pid])) - spent) / Math.max(1, watchers - 1)
  console.log(
    `snapshots one after another: ${each.toFixed(0)} ms each, ${cpu.toFixed(0)} ms of the hub's processor time`,
  )

  const reader = await connect(await house.credential(url, 'reader/a', ['get:rec/*']))
  const snapshots: number[] = []
  for (let i = 0; i < 5; i++) {
    const start = performance.now()
    const watch = reader.watch('rec/')
    await watch.ready()
    snapshots.push(performance.now() - start)
    if (watch.entries.size !== records) throw new Error(`${watch.entries.size} of ${records} records came.`)
    if (i < 4) watch.close()
  }
  console.log(`snapshot of all in the SDK: ${snapshots.map(seconds).join(', ')} (bar: 2 s)`)

  const [writer] = writers
  const latencies: number[] = []
  for (let i = 0; i < changes; i++) {
    const start = performance.now()
    const arrivals = lines.map((line) => arrival(line))
    const done = writer!.patch('rec/0', { state: 'busy', players: i })
    await Promise.all([...arrivals, done])
    latencies.push(performance.now() - start)
  }
  const p = (share: number) => `${quantile(latencies, share).toFixed(1)} ms`
  console.log(`a change until all watchers have it: p50 ${p(0.5)}, p99 ${p(0.99)}, max ${p(1)} (bar: p99 100 ms)`)
}

/** A watcher that reads all and decodes little: what is measured is the hub. */
async function attach(house: House, url: string, index: number): Promise<RawClient> {
  const credential = await house.credential(url, `watcher/${index}`, ['get:rec/*'])
  const line = await openRaw(url, { ca: credential.ca })
  await line.hello(credential)
  line.ws.removeAllListeners('message')
  const last = new Promise<void>((resolve) => {
    line.ws.on('message', (data: Buffer) => {
      // The head of a records frame is JSON behind six bytes; only the last slice of a snapshot has no more.
      if (data.indexOf('"more":false') > 0) resolve()
    })
  })
  line.send({ type: 'watch', id: 1, prefix: 'rec/' })
  await last
  line.ws.removeAllListeners('message')
  return line
}

/** When a watcher gets its next frame. */
function arrival(line: RawClient): Promise<void> {
  return new Promise((resolve) => line.ws.once('message', () => resolve()))
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}
