import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { port, readConfig, secret } from '@damon/runtime/config'
import type { Secret } from '@damon/runtime/secret'
import { z } from 'zod'
import { CliError } from '../cli-error.ts'
import { createFile, privateFolder } from '../files.ts'
import { findHome, type Home } from '../home.ts'
import { createKeys, firstIssuer, type KeyRing, readKeys } from '../keys.ts'
import type { Terminal } from '../terminal.ts'
import { ensureAuthority } from './authority.ts'
import { ensureConnections, localCertificate } from './connections.ts'
import { lockHome } from './lock.ts'
import { checkPort } from './port.ts'
import { ServiceLog } from './service-log.ts'
import { type Ready, ServiceProcess, type ServiceSpec } from './service-process.ts'
import { certsSpec, hubSpec, sidecarSpec } from './services.ts'
import { type Running, welcome } from './welcome.ts'

const upConfig = {
  /** Where the hub listens on loopback. */
  DAMON_PORT: port().default(8443),
  /** Encrypts the root private key that the first start makes. */
  DAMON_ROOT_PASSPHRASE: secret().optional(),
  /** The Lavalink to look after; the sidecar reads it too. */
  LAVALINK_URL: z.string().optional(),
}

/** Starts everything, says where it is, and stops it when told to. Throws coded errors for what is in the way. */
export async function up(terminal: Terminal, json: boolean): Promise<void> {
  const { signal, onSecond } = terminal.interrupt()
  let killed = false
  {
    await using resources = new AsyncDisposableStack()
    const services: ServiceProcess[] = []
    onSecond(() => {
      killed = true
      for (const service of services) service.kill()
    })
    const stack = { resources, services, signal, tell: (line: string) => terminal.note(line) }
    const running = await startAll(terminal, stack).catch((error) => {
      // Told to stop while it started: what ended because of that is no failure.
      if (!signal.aborted) throw error
    })
    if (running) {
      terminal.print(json ? JSON.stringify({ ready: running }) : welcome(running))
      process.send?.({ ready: { name: 'up', ...running } }, undefined, undefined, () => {})
      await aborted(signal)
    }
    terminal.note('Stopping.')
  }
  if (killed) throw new CliError('interrupted', 'Stopped by a second signal; the services were killed.')
  terminal.note('Stopped.')
}

/** What is running, and how to end it. */
interface Stack {
  resources: AsyncDisposableStack
  services: ServiceProcess[]
  signal: AbortSignal
  tell(line: string): void
}

async function startAll({ env, cwd }: Terminal, stack: Stack): Promise<Running> {
  const config = readConfig(upConfig, env)
  const home = findHome(env, cwd)
  await privateFolder(home.root)
  stack.resources.use(lockHome(home))
  if (config.DAMON_PORT !== 0) await checkPort(config.DAMON_PORT)
  const keys = await ensureKeys(home, config.DAMON_ROOT_PASSPHRASE)
  const ca = await ensureAuthority(home, Date.now())
  await ensureCertificates(home)

  const hub = await start(hubSpec(home, env, { port: config.DAMON_PORT, aud: keys.issuer.aud }), home, stack)
  const url = hub.ready.url
  if (url === undefined) throw new CliError('service_failed', 'The hub did not say where it listens.')
  const connections = await ensureConnections(home, keys, { url, ca }, Date.now())
  const specs = [certsSpec(home, env, connections)]
  if (config.LAVALINK_URL !== undefined) specs.push(sidecarSpec(home, env, connections))
  const services = [hub, ...(await Promise.all(specs.map((spec) => start(spec, home, stack))))]
  return {
    url,
    home: home.root,
    ca: home.ca.certificate,
    connections,
    services: services.map(({ service, ready }) => {
      return { name: service.name, pid: service.pid, at: ready.url ?? ready.node ?? '', metrics: ready.metrics ?? '' }
    }),
  }
}

async function start(
  spec: ServiceSpec,
  home: Home,
  { resources, services, signal, tell }: Stack,
): Promise<{ service: ServiceProcess; ready: Ready }> {
  const log = resources.use(await ServiceLog.open(spec.name, home.log(spec.name), tell))
  const service = resources.use(new ServiceProcess(spec, log, tell))
  services.push(service)
  return { service, ready: await service.start(signal) }
}

/** Development keys: they lie beside each other on one disk, and the trust list says so. */
async function ensureKeys(home: Home, passphrase: Secret | undefined): Promise<KeyRing> {
  if (!existsSync(home.keys.folder)) await createKeys(home.keys, { aud: 'damon:dev', dev: true, passphrase })
  return readKeys(home.keys, firstIssuer)
}

async function ensureCertificates({ certs }: Home): Promise<void> {
  if (!existsSync(certs.storeKey)) await createFile(certs.storeKey, `${randomBytes(32).toString('base64')}\n`)
  if (existsSync(certs.config)) return
  await createFile(
    certs.config,
    `# What certs issues and renews. Made once; change it as you like.
issuers:
  local: { type: local }
certificates:
  ${localCertificate}: { issuer: local, names: [localhost] }
`,
  )
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
