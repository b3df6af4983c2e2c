import 'reflect-metadata'
import { BlockList, isIP } from 'node:net'
import {
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_nameConstraints,
  NameConstraints,
} from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'

const day = 86_400_000

/** Clocks of one machine's containers may disagree: certificates begin a little before now, ms. */
const backdate = 5 * 60_000

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** What a development authority may sign for when nothing else is said: names, each with its subdomains, and networks. */
export const developmentNames = ['localhost', 'test', '127.0.0.0/8', '::1'] as const

/** A certificate authority in two PEMs. Its key can sign for what its certificate permits, and for nothing else. */
export interface Authority {
  certificate: string
  /** PKCS#8 */
  key: string
}

/** A server's key (PKCS#8) and its chain, leaf first, both PEM. */
export interface IssuedCertificate {
  key: string
  chain: string
}

/**
 * Makes an authority that cannot make others and, by critical name constraints (RFC 5280, 4.2.1.10), only signs for
 * `permitted`: DNS names with their subdomains, addresses, networks. `now` is Unix ms.
 */
export async function createAuthority({
  name,
  now,
  days,
  permitted = developmentNames,
}: {
  name: string
  now: number
  days: number
  permitted?: readonly string[]
}): Promise<Authority> {
  const keys = await generateKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - backdate),
    notAfter: new Date(now + days * day),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.Extension(id_ce_nameConstraints, true, new ConstraintsData(constraints(permitted)).rawData),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: `${certificate.toString('pem')}\n`, key: await exportKey(keys.privateKey) }
}

/**
 * Issues a server certificate with a new key for DNS names (wildcards too) and IP addresses. It never outlives its
 * authority. `now` is Unix ms. Throws a RangeError for a name that the authority may not sign for.
 */
export async function issueLeaf(
  authority: Authority,
  { names, now, days }: { names: readonly string[]; now: number; days: number },
): Promise<IssuedCertificate> {
  const issuer = new x509.X509Certificate(authority.certificate)
  const permits = permission(issuer)
  const refused = names.find((name) => !permits(name))
  if (refused || names.length === 0) {
    throw new RangeError(`"${refused ?? ''}" is not a name that the authority ${issuer.subject} may sign for`)
  }
  const keys = await generateKeys()
  const leaf = await x509.X509CertificateGenerator.create({
    issuer: issuer.subjectName,
    // The spaces keep verifiers from taking the common name for a host.
    subject: [{ CN: ['Damon server certificate'] }],
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm: algorithm,
    notBefore: new Date(now - backdate),
    notAfter: new Date(Math.min(now + days * day, issuer.notAfter.getTime())),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return { key: await exportKey(keys.privateKey), chain: `${leaf.toString('pem')}\n${authority.certificate}` }
}

/** The library encodes and decodes only through a class of this kind. */
class ConstraintsData extends x509.AsnData<NameConstraints> {
  get permitted(): GeneralSubtree[] {
    return [...(this.asn.permittedSubtrees ?? [])]
  }

  protected onInit(): void {}
}

function constraints(permitted: readonly string[]): NameConstraints {
  const isNetwork = (text: string) => isIP(text.split('/')[0] ?? '') !== 0
  const networks = permitted
    .filter(isNetwork)
    .map((text) => (text.includes('/') ? text : `${text}/${isIP(text) === 4 ? 32 : 128}`))
  const names = permitted.filter((text) => !isNetwork(text))
  // A kind of name that is not mentioned is free: what has no entry is excluded as a whole.
  const excluded = [
    ...(names.length === 0 ? [new GeneralName({ dNSName: '' })] : []),
    ...(networks.length === 0 ? ['0.0.0.0/0', '::/0'].map((iPAddress) => new GeneralName({ iPAddress })) : []),
  ]
  return new NameConstraints({
    permittedSubtrees: subtrees([
      ...names.map((dNSName) => new GeneralName({ dNSName })),
      ...networks.map((iPAddress) => new GeneralName({ iPAddress })),
    ]),
    ...(excluded.length > 0 ? { excludedSubtrees: subtrees(excluded) } : {}),
  })
}

function subtrees(names: GeneralName[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map((base) => new GeneralSubtree({ base })))
}

function permission(issuer: x509.X509Certificate): (name: string) => boolean {
  const extension = issuer.getExtension(id_ce_nameConstraints)
  if (!extension) return () => true
  const bases = new ConstraintsData(extension.value, NameConstraints).permitted.map(({ base }) => base)
  const networks = new BlockList()
  for (const { iPAddress } of bases) {
    const [address, bits] = iPAddress?.split('/') ?? []
    if (address) networks.addSubnet(address, Number(bits), isIP(address) === 6 ? 'ipv6' : 'ipv4')
  }
  const domains = bases.flatMap(({ dNSName }) => dNSName ?? [])
  return (name) => {
    const family = isIP(name)
    if (family !== 0) return networks.check(name, family === 6 ? 'ipv6' : 'ipv4')
    const host = name.toLowerCase()
    return domains.some((domain) => host === domain || host.endsWith(`.${domain}`))
  }
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair
}

async function exportKey(key: CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), x509.PemConverter.PrivateKeyTag)}\n`
}

function importKey(pem: string): Promise<CryptoKey> {
  return crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), algorithm, false, ['sign'])
}
