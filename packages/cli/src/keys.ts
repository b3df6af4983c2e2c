import { createPrivateKey } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Secret } from '@damon/runtime/secret'
import { generateKey, type PrivateJwk, type PublicJwk, privateJwk, publicJwk } from '@damon/trust/keys'
import { signTrustList, type TrustList, verifyTrustList } from '@damon/trust/trust-list'
import { z } from 'zod'
import { CliError } from './cli-error.ts'
import { errno, readPrivate, readText } from './files.ts'
import { type KeyPaths, keyPaths } from './home.ts'

/** The issuer that `keys init` makes. */
export const firstIssuer = 'op-1'

/** openssl's key derivation for this format is quick, so the passphrase itself must be long. */
const passphraseLength = 16

/** An issuer's key and what it is for. */
export interface IssuerKey {
  kid: string
  aud: string
  key: PrivateJwk
}

/** What minting needs: an issuer, and what clients pin and present. */
export interface KeyRing {
  issuer: IssuerKey
  root: PublicJwk
  /** The trust list as signed. */
  trust: string
  list: TrustList
}

const issuerKey = z.object({ kid: z.string(), aud: z.string(), key: privateJwk })

/**
 * Makes root, first issuer and trust list in a folder, all of them or none. Without passphrase the root's private key
 * lies there in clear. Throws `exists` if the folder has anything in it, `bad_argument` for a short passphrase.
 */
export async function createKeys(
  paths: KeyPaths,
  options: { aud: string; dev: boolean; passphrase?: Secret | undefined },
): Promise<void> {
  if (options.passphrase && options.passphrase.reveal().length < passphraseLength) {
    throw new CliError('bad_argument', `DAMON_ROOT_PASSPHRASE needs at least ${passphraseLength} characters.`)
  }
  const [root, issuer] = await Promise.all([generateKey(), generateKey()])
  const trust = await signTrustList(root.privateKey, {
    aud: options.aud,
    seq: 1,
    ...(options.dev ? { dev: true } : {}),
    issuers: [{ kid: firstIssuer, x: issuer.publicKey.x, sub: '*', can: ['*'] }],
  })
  const issuerFile: IssuerKey = { kid: firstIssuer, aud: options.aud, key: issuer.privateKey }
  await mkdir(dirname(paths.folder), { recursive: true, mode: 0o700 })
  // mkdtemp makes it 0700. Renamed at the end, so that half a set of keys is never taken for a whole one.
  const draft = keyPaths(await mkdtemp(join(dirname(paths.folder), `.${basename(paths.folder)}-`)))
  try {
    await writeNew(draft.root, rootPem(root.privateKey, options.passphrase))
    await writeNew(draft.rootPublic, `${JSON.stringify(root.publicKey)}\n`)
    await writeNew(draft.issuer(firstIssuer), `${JSON.stringify(issuerFile)}\n`)
    await writeNew(draft.trust, `${trust}\n`)
    await rename(draft.folder, paths.folder)
  } catch (error) {
    await rm(draft.folder, { recursive: true })
    if (errno(error) !== 'ENOTEMPTY' && errno(error) !== 'EEXIST' && errno(error) !== 'ENOTDIR') throw error
    throw new CliError('exists', `${paths.folder} exists. Keys are never overwritten: move it away, or name another.`)
  }
}

/** Reads an issuer's key with the root and the trust list beside it. Throws `no_keys`, `bad_keys` or `too_open`. */
export async function readKeys(paths: KeyPaths, kid: string): Promise<KeyRing> {
  const [issuerText, rootText, trust] = await Promise.all([
    readPrivate(paths.issuer(kid)),
    readText(paths.rootPublic),
    readText(paths.trust),
  ])
  if (issuerText === undefined || rootText === undefined || trust === undefined) {
    const missing =
      issuerText === undefined ? paths.issuer(kid) : rootText === undefined ? paths.rootPublic : paths.trust
    throw new CliError(
      'no_keys',
      `There is no ${missing}. Make keys with \`damon keys init\`, or say where with --keys.`,
    )
  }
  const issuer = parse(paths.issuer(kid), issuerKey, issuerText)
  const root = parse(paths.rootPublic, publicJwk, rootText)
  const list = await verifyTrustList(trust.trim(), root, { aud: issuer.aud })
  if (!list.issuers.some((listed) => listed.kid === issuer.kid && listed.x === issuer.key.x)) {
    throw new CliError('bad_keys', `The trust list ${paths.trust} does not name the issuer ${kid}.`)
  }
  return { issuer, root, trust: trust.trim(), list }
}

function rootPem(key: PrivateJwk, passphrase: Secret | undefined): string {
  const encryption = passphrase ? { cipher: 'aes-256-cbc', passphrase: passphrase.reveal() } : {}
  const pem = createPrivateKey({ key: { ...key }, format: 'jwk' })
  return pem.export({ type: 'pkcs8', format: 'pem', ...encryption }).toString()
}

function parse<T>(path: string, schema: { parse(value: unknown): T }, text: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch {
    // No cause: a parser's message may quote the key.
    throw new CliError('bad_keys', `${path} is damaged. Restore it from a copy.`)
  }
}

function writeNew(path: string, text: string): Promise<void> {
  return writeFile(path, text, { flag: 'wx', mode: 0o600 })
}
