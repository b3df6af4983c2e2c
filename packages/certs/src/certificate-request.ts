import * as acme from 'acme-client'
import type { KeyType } from './wanted.ts'

/** A common name is at most so long (RFC 5280, A.1). */
const commonNameLength = 64

/** Makes a fresh key and the request that it signs, both PEM. */
export async function createRequest(names: readonly string[], keyType: KeyType): Promise<{ key: string; csr: string }> {
  const key = (await makeKey[keyType]()).toString()
  // Some authorities still want a common name; none minds one that is among the names.
  const commonName = names.find((name) => name.length <= commonNameLength) ?? ''
  const [, csr] = await acme.crypto.createCsr({ commonName, altNames: [...names] }, key)
  return { key, csr: csr.toString() }
}

const makeKey: Record<KeyType, () => Promise<Buffer>> = {
  p256: () => acme.crypto.createPrivateEcdsaKey('P-256'),
  p384: () => acme.crypto.createPrivateEcdsaKey('P-384'),
  rsa2048: () => acme.crypto.createPrivateRsaKey(2048),
}
