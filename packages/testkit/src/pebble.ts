import { X509Certificate } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { startDaemon } from './daemon.ts'
import { type DnsServer, startDnsServer } from './dns-server.ts'
import { onFreePorts } from './free-port.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** A real ACME server (pebble) that validates against a DNS server of its own, both on loopback. */
export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string
  /** PEM of the authority behind the directory's own TLS certificate. */
  readonly ca: string
  /** PEM of the root under which it issues; another one after every start. */
  readonly root: string
  /** Common names of all its roots, the first one first. */
  readonly rootNames: readonly string[]
  /** How many certificates it has issued. */
  issued(): number
  readonly dns: DnsServer
  /** What it has logged. */
  output(): string
}

/** What this pebble is like. */
export interface PebbleOptions {
  /** Life of its certificates, 90 days where nothing is said. */
  lifetimeSeconds?: number
  /** Names that it issues nothing for. */
  blocked?: readonly string[]
  /** Validates by these name servers instead of one of its own. */
  dns?: DnsServer
  /** Accounts must belong to one of these: keys (base64url) by their ids. */
  externalAccounts?: Readonly<Record<string, string>>
  /** So many roots beside the first, each with a chain of its own. */
  alternateRoots?: number
}

/**
 * Starts pebble (`-strict`) with pebble-challtestsrv. One nonce in five is refused, authorizations are never reused.
 * Rejects when the programs are not installed.
 */
export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  await using started = new AsyncDisposableStack()
  const folder = started.use(await temporaryFolder())
  const dns = options.dns ?? started.use(await startDnsServer())
  const now = Date.now()
  const authority = await createAuthority({ name: 'Pebble test CA', now, days: 2 })
  const leaf = await issueLeaf(authority, { names: ['localhost', '127.0.0.1'], now, days: 1 })
  const file = (name: string) => join(folder.path, name)
  await writeFile(file('chain.pem'), leaf.chain)
  await writeFile(file('key.pem'), leaf.key, { mode: 0o600 })
  const { daemon, port, roots } = await onFreePorts(4, async ([port, managementPort, httpPort, tlsPort]) => {
    const config = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: file('chain.pem'),
      privateKey: file('key.pem'),
      httpPort,
      tlsPort,
      domainBlocklist: options.blocked ?? [],
      externalAccountBindingRequired: options.externalAccounts !== undefined,
      externalAccountMACKeys: options.externalAccounts ?? {},
      certificateValidityPeriod: options.lifetimeSeconds ?? 90 * 24 * 3600,
    }
    await writeFile(file('pebble.json'), JSON.stringify({ pebble: config }))
    const rootUrl = `https://localhost:${managementPort}/roots/0`
    const daemon = await startDaemon({
      command: 'pebble',
      args: ['-config', file('pebble.json'), '-dnsserver', dns.address, '-strict'],
      env: {
        PEBBLE_VA_NOSLEEP: '1',
        PEBBLE_WFE_NONCEREJECT: '20',
        PEBBLE_AUTHZREUSE: '0',
        PEBBLE_ALTERNATE_ROOTS: String(options.alternateRoots ?? 0),
      },
      isReady: async () => (await get(rootUrl, authority.certificate)).includes('CERTIFICATE'),
    })
    const roots: string[] = []
    for (let number = 0; number <= (options.alternateRoots ?? 0); number++) {
      roots.push(await get(`https://localhost:${managementPort}/roots/${number}`, authority.certificate))
    }
    return { daemon, port, roots }
  })
  started.use(daemon)
  const resources = started.move()
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    ca: authority.certificate,
    root: roots[0]!,
    rootNames: roots.map((pem) => /CN=(.+)/.exec(new X509Certificate(pem).subject)?.[1] ?? ''),
    dns,
    issued: () => daemon.output().match(/Issued certificate serial/g)?.length ?? 0,
    output: daemon.output,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** The text at a URL under an authority that only this call trusts. */
function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(url, { ca, agent: false }, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      resolve(text)
    })
      .on('error', reject)
      .end()
  })
}
