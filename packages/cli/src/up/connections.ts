import { parseCapabilities } from '@damon/trust/capabilities'
import { type Credential, parseCredential } from '@damon/trust/credential'
import { verifyToken } from '@damon/trust/token'
import { readPrivate, replaceFile } from '../files.ts'
import type { Home } from '../home.ts'
import type { KeyRing } from '../keys.ts'
import { connectionText, mintCredential } from '../minting.ts'
import { profiles } from '../profiles.ts'

const day = 86_400_000
const life = 90 * day

/** The certificate that `damon up` lets certs make, and its bot receive. */
export const localCertificate = 'local'

const subjects = {
  bot: { sub: 'bot/local', can: [...profiles.bot.can, `cert:${localCertificate}`] },
  sidecar: { sub: 'sidecar/local', can: profiles.sidecar.can },
  operator: { sub: 'operator/local', can: profiles.operator.can },
  certs: { sub: 'certs/local', can: profiles.certs.can },
} as const

/** The connection files that `damon up` keeps. */
export type ConnectionName = keyof typeof subjects
export const connectionNames = Object.keys(subjects) as ConnectionName[]

/**
 * Sees to it that each connection file leads to this hub and holds for another month: what still does is left alone,
 * a hub at another port changes the file and keeps its token. `now` is Unix ms. Resolves to their paths.
 */
export async function ensureConnections(
  home: Home,
  keys: KeyRing,
  hub: { url: string; ca: string },
  now: number,
): Promise<Record<ConnectionName, string>> {
  const paths = connectionNames.map(async (name) => {
    const path = home.connection(name)
    const wish = { ...subjects[name], ttl: life, urls: [hub.url], ca: hub.ca }
    const text = await readPrivate(path)
    const known = text === undefined ? undefined : await stillGood(text, keys, wish, now)
    const credential = known
      ? { ...known, urls: wish.urls, ca: wish.ca, trust: keys.trust }
      : await mintCredential(keys, wish, now)
    const wanted = connectionText(credential)
    if (wanted !== text) await replaceFile(path, wanted)
    return [name, path] as const
  })
  return Object.fromEntries(await Promise.all(paths)) as Record<ConnectionName, string>
}

async function stillGood(
  text: string,
  keys: KeyRing,
  { sub, can }: { sub: string; can: readonly string[] },
  now: number,
): Promise<Credential | undefined> {
  try {
    const credential = parseCredential(text)
    const { aud } = keys.issuer
    const claims = await verifyToken(credential.token, keys.list, { aud, now })
    const holds =
      credential.aud === aud &&
      credential.root.x === keys.root.x &&
      claims.sub === sub &&
      claims.cnf !== undefined &&
      claims.cnf.jwk.x === credential.identity?.x &&
      claims.exp * 1000 - now > life / 3 &&
      parseCapabilities(claims.can, sub).equals(parseCapabilities(can, sub))
    return holds ? credential : undefined
  } catch {
    return undefined
  }
}
