import { createPrivateKey, createPublicKey, type JsonWebKey, sign, verify } from 'node:crypto'

/** A token for the servers that bring none of their own: a name and an Ed25519 signature of it. */
export function signName(name: string, key: JsonWebKey): string {
  return `${name}.${sign(null, Buffer.from(name), createPrivateKey({ key, format: 'jwk' })).toString('base64url')}`
}

/** Tells the name of such a token, or undefined for a forged one. `jwk` is the public key. */
export function nameReader(jwk: JsonWebKey): (token: string) => string | undefined {
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  return (token) => {
    const [name = '', signature = ''] = token.split('.')
    return verify(null, Buffer.from(name), key, Buffer.from(signature, 'base64url')) ? name : undefined
  }
}
