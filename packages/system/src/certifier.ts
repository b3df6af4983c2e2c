import { connect } from '@damon/client/connect'
import { certReader } from '@damon/protocol/records'
import type { Credential } from '@damon/trust/credential'
import { envelopeKey, leafFingerprint, nextVersion, sealCertificate } from '@damon/trust/envelope'
import type { IssuedCertificate } from '@damon/trust/local-ca'
import { type VerifiedReader, verifyReader } from '@damon/trust/reader'
import { verifyTrustList } from '@damon/trust/trust-list'

/** certs by hand: seals what it is given, when it is told to. */
export interface Certifier extends AsyncDisposable {
  /** The readers that want a certificate now. */
  readers(id: string): Promise<VerifiedReader[]>
  /** Gives a pair to every reader that wants it; resolves to its fingerprint. */
  deliver(id: string, pair: IssuedCertificate): Promise<string>
}

/** Connects with a credential of certs. */
export async function startCertifier(credential: Credential): Promise<Certifier> {
  const hub = await connect(credential)
  const { aud, token, identity, root } = credential
  const trust = await verifyTrustList(credential.trust, root, { aud })
  let last = 0
  const readers = async (id: string) => {
    const records = await hub.list('cert-reader/')
    const verified = records.map(({ key, value }) =>
      verifyReader(certReader.parse(value), key, { trust, aud, now: Date.now() }),
    )
    return (await Promise.all(verified)).filter(({ wants }) => wants.includes(id))
  }
  return {
    readers,
    async deliver(id, pair) {
      for (const reader of await readers(id)) {
        last = nextVersion(last, Date.now())
        const jws = await sealCertificate(pair, { reader, id, version: last, aud, token, identity: identity! })
        await hub.put(envelopeKey(reader, id), { jws })
      }
      return leafFingerprint(pair.chain)
    },
    [Symbol.asyncDispose]: () => hub.close(),
  }
}
