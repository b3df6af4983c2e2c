import { createHash, randomUUID, X509Certificate } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type RunningProgram, type RunningService, startProgram, startService } from '@damon/testkit/process'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import type { Credential } from '@damon/trust/credential'
import { generateKey, type PrivateJwk } from '@damon/trust/keys'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { mintToken } from '@damon/trust/token'
import { signTrustList } from '@damon/trust/trust-list'

/** What a credential may have other than usual. */
export interface Unusual {
  /** Unix seconds. */
  iat?: number
  /** Unix seconds. */
  exp?: number
  aud?: string
  /** Its rate class. */
  rate?: string
  /** The key of an earlier credential. */
  identity?: PrivateJwk
  /** Somebody who is not on the trust list under this name or with this key. */
  issuer?: { kid: string; key: PrivateJwk }
}

/** Everything that services need to trust each other, made anew and removed when disposed: keys, certificates, a folder. */
export interface House extends AsyncDisposable {
  readonly folder: string
  /**
   * What a server for localhost needs: PEM files, and as PEM the authority that its clients trust. `pin` is its public
   * key's SPKI, SHA-256 in base64, for browsers.
   */
  readonly tls: { readonly certFile: string; readonly keyFile: string; readonly ca: string; readonly pin: string }
  /** What a service with this subject and these capabilities connects with, valid for an hour. */
  credential(url: string, sub: string, can: readonly string[], unusual?: Unusual): Promise<Credential>
  /** The path of a connection file with that. */
  connectionFile(url: string, sub: string, can: readonly string[]): Promise<string>
  /** A hub that this house trusts, on a free port where `HUB_PORT` says nothing; `ready.url` is where. */
  startHub(env?: Readonly<Record<string, string>>): Promise<RunningService>
  /** The same, without waiting for anything: for a hub that may not start. */
  hubProgram(env?: Readonly<Record<string, string>>): Promise<RunningProgram>
}

const aud = 'damon:test'
const hour = 3_600

/** The script that runs a service of this workspace. */
export function serviceScript(name: string): string {
  return fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url))
}

/** Builds a house: a root, an issuer that it vouches for, and an authority with a certificate for localhost. */
export async function buildHouse(): Promise<House> {
  const folder = await temporaryFolder()
  const [root, issuer] = await Promise.all([generateKey(), generateKey()])
  const kid = 'op-1'
  const trust = await signTrustList(root.privateKey, {
    aud,
    seq: 1,
    issuers: [{ kid, x: issuer.publicKey.x, sub: '*', can: ['*'] }],
  })
  const now = Date.now()
  const authority = await createAuthority({ name: 'A house of tests', now, days: 2 })
  const leaf = await issueLeaf(authority, { names: ['localhost', '127.0.0.1', '::1'], now, days: 1 })
  const write = async (name: string, content: string): Promise<string> => {
    const path = join(folder.path, name)
    await writeFile(path, content, { mode: 0o600 })
    return path
  }
  const files = {
    HUB_TLS_CERT_FILE: await write('hub.pem', leaf.chain),
    HUB_TLS_KEY_FILE: await write('hub-key.pem', leaf.key),
    HUB_ROOT_KEY_FILE: await write('root-public.json', JSON.stringify(root.publicKey)),
    HUB_TRUST_FILE: await write('trust.jws', trust),
  }
  const credential: House['credential'] = async (url, sub, can, unusual = {}) => {
    const identity = unusual.identity ?? (await generateKey()).privateKey
    const { kty, crv, x } = identity
    const { iat = Math.floor(Date.now() / 1000) } = unusual
    const token = await mintToken(unusual.issuer ?? { kid, key: issuer.privateKey }, {
      aud: unusual.aud ?? aud,
      sub,
      jti: randomUUID(),
      iat,
      exp: unusual.exp ?? iat + hour,
      can: [...can],
      cnf: { jwk: { kty, crv, x } },
      ...(unusual.rate !== undefined && { rate: unusual.rate }),
    })
    return {
      damon: 1,
      urls: [url],
      aud,
      root: root.publicKey,
      trust,
      token,
      ca: authority.certificate,
      identity,
    }
  }
  const hubEnvironment = async (env: Readonly<Record<string, string>> = {}) => {
    const state = join(folder.path, `hub-${randomUUID()}`)
    await mkdir(state, { mode: 0o700 })
    const defaults = {
      HUB_PORT: '0',
      HUB_WORKERS: '2',
      HUB_NAMES: 'localhost',
      HUB_AUDIENCE: aud,
      HUB_STATE_DIR: state,
    }
    return { ...defaults, ...files, ...env }
  }
  return {
    folder: folder.path,
    tls: {
      ...{ certFile: files.HUB_TLS_CERT_FILE, keyFile: files.HUB_TLS_KEY_FILE },
      ...{ ca: authority.certificate, pin: pinOf(leaf.chain) },
    },
    credential,
    connectionFile: async (url, sub, can) =>
      write(`${sub.replaceAll('/', '-')}-${randomUUID()}.json`, JSON.stringify(await credential(url, sub, can))),
    startHub: async (env) => startService(serviceScript('hub'), await hubEnvironment(env)),
    hubProgram: async (env) => startProgram(serviceScript('hub'), await hubEnvironment(env)),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}

function pinOf(chain: string): string {
  const spki = new X509Certificate(chain).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest('base64')
}
