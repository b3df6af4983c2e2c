import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { parseCapabilities, type Rights } from '@damon/trust/capabilities'
import type { PublicJwk } from '@damon/trust/keys'
import { verifyProof } from '@damon/trust/proof'
import { isRevoked, issuerOf, type TokenClaims, verifyToken } from '@damon/trust/token'
import { type TrustList, verifyTrustList } from '@damon/trust/trust-list'

/** Who a session is, and what it may. */
export interface Identified {
  subject: string
  rights: Rights
  /** Unix ms. */
  expires: number
  /** The token's id, for the log. */
  jti: string
  /** Unix seconds. */
  issued: number
  /** Who signed the token, by the name on the trust list. */
  issuer: string
  /** The rate class of the token. */
  rate: string | undefined
  /** Digest of the bound key: a session keeps its key. */
  key: string
}

/** Verifies tokens and proofs. Holds public keys only. */
export class Identity {
  #trust: TrustList
  readonly #root: PublicJwk
  readonly #aud: string
  /** By the certificate that the hub started with, and by the one it shows. */
  readonly #isFirstHost: (host: string) => boolean
  #isHost: (host: string) => boolean

  private constructor(trust: TrustList, root: PublicJwk, aud: string, isHost: (host: string) => boolean) {
    this.#trust = trust
    this.#root = root
    this.#aud = aud
    this.#isFirstHost = isHost
    this.#isHost = isHost
  }

  /** Rejects with DamonError `bad_trust_list`. */
  static async load(options: {
    root: PublicJwk
    trustList: string
    aud: string
    /** The hub's own certificate, PEM. */
    certificate: string
    /** Further names by which clients may call the hub. */
    names: readonly string[]
  }): Promise<Identity> {
    const trust = await verifyTrustList(options.trustList, options.root, { aud: options.aud })
    return new Identity(trust, options.root, options.aud, hostCheck(options.certificate, options.names))
  }

  /** The trust list that counts. */
  get trust(): TrustList {
    return this.#trust
  }

  /** Another trust list counts from now on, of the same root. Rejects with DamonError `bad_trust_list`. */
  async follow(list: string): Promise<void> {
    this.#trust = await verifyTrustList(list, this.#root, { aud: this.#aud })
  }

  /** What became of a session's token with the trust list that counts now: undefined where it is as good as before. */
  lost(
    { jti, subject, issued, issuer }: Identified,
    before: TrustList,
  ): 'token_revoked' | 'rights_changed' | undefined {
    if (isRevoked({ jti, sub: subject, iat: issued }, this.#trust)) return 'token_revoked'
    const entry = ({ issuers }: TrustList) => JSON.stringify(issuers.find(({ kid }) => kid === issuer))
    const now = entry(this.#trust)
    if (now === undefined) return 'token_revoked'
    return now === entry(before) ? undefined : 'rights_changed'
  }

  /** Whether the trust list is one for development. */
  get dev(): boolean {
    return this.#trust.dev === true
  }

  /** The hub shows this certificate (PEM) from now on, and is called by its names too. */
  answerTo(certificate: string): void {
    const isNewHost = hostCheck(certificate, [])
    this.#isHost = (host) => this.#isFirstHost(host) || isNewHost(host)
  }

  /** Who says hello. Rejects with the DamonErrors of the token and its proof. `nonce` is this socket's. */
  async hello(token: string, proof: string | undefined, nonce: string): Promise<Identified> {
    const claims = await verifyToken(token, this.#trust, { aud: this.#aud, now: Date.now() })
    await verifyProof(proof, claims, { nonce, isHost: (host) => this.#isHost(host) })
    return identified(claims, token)
  }

  /** Who holds a new token on a live session; the key was proven when the session began. */
  async renew(token: string): Promise<Identified> {
    return identified(await verifyToken(token, this.#trust, { aud: this.#aud, now: Date.now() }), token)
  }
}

/** Rights by what grants them: services of one kind have the same, and an idle session shall cost little. */
const knownRights = new Map<string, Rights>()
const rememberedRights = 1_024

function rightsOf({ can, sub }: TokenClaims): Rights {
  const name = `${sub.split('/')[0]} ${can.join(' ')}`
  let rights = knownRights.get(name)
  if (!rights) {
    if (knownRights.size >= rememberedRights) knownRights.clear()
    rights = parseCapabilities(can, sub)
    knownRights.set(name, rights)
  }
  return rights
}

function identified(claims: TokenClaims, token: string): Identified {
  return {
    subject: claims.sub,
    rights: rightsOf(claims),
    expires: claims.exp * 1000,
    jti: claims.jti,
    issued: claims.iat,
    issuer: issuerOf(token),
    rate: claims.rate,
    key: createHash('sha256')
      .update(claims.cnf?.jwk.x ?? '')
      .digest('hex'),
  }
}

/** Whether a dialled host is this hub: a name of its certificate, or a configured one. */
function hostCheck(certificate: string, names: readonly string[]): (host: string) => boolean {
  const x509 = new X509Certificate(certificate)
  const also = new Set(names.map((name) => name.toLowerCase()))
  return (host) => {
    if (also.has(host.toLowerCase())) return true
    return isIP(host) ? x509.checkIP(host) !== undefined : x509.checkHost(host, { subject: 'never' }) !== undefined
  }
}
