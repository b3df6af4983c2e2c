import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { readPrivate, readText, replaceFile } from '../files.ts'
import type { Home } from '../home.ts'

const day = 86_400_000
const authorityDays = 3_650
const leafDays = 90
const hubNames = ['localhost', '127.0.0.1', '::1'] as const

/**
 * Sees to it that the home has a certificate authority and, by it, a certificate for the hub on this machine: made when
 * missing or damaged, renewed with a third of its life left. `now` is Unix ms. Resolves to the authority's PEM.
 */
export async function ensureAuthority({ ca }: Home, now: number): Promise<string> {
  let certificate = await readText(ca.certificate)
  let key = await readPrivate(ca.key)
  if (!isGood(certificate, key, now + leafDays * day)) {
    const authority = await createAuthority({ name: 'Damon on this machine', now, days: authorityDays })
    certificate = authority.certificate
    key = authority.key
    await replaceFile(ca.key, key)
    await replaceFile(ca.certificate, certificate)
  }
  const authority = { certificate: certificate!, key: key! }
  const [leaf, leafKey] = await Promise.all([readText(ca.hubCertificate), readPrivate(ca.hubKey)])
  if (!isGood(leaf, leafKey, now + (leafDays / 3) * day, authority.certificate)) {
    const issued = await issueLeaf(authority, { names: hubNames, now, days: leafDays })
    await replaceFile(ca.hubKey, issued.key)
    await replaceFile(ca.hubCertificate, issued.chain)
  }
  return authority.certificate
}

/** Whether a certificate fits its key, is by the authority (itself, if none is named) and will still hold at a time. */
function isGood(pem: string | undefined, key: string | undefined, until: number, authority = pem): boolean {
  if (pem === undefined || key === undefined || authority === undefined) return false
  try {
    const certificate = new X509Certificate(pem)
    return (
      certificate.validToDate.getTime() > until &&
      certificate.checkPrivateKey(createPrivateKey(key)) &&
      certificate.verify(new X509Certificate(authority).publicKey)
    )
  } catch {
    return false
  }
}
