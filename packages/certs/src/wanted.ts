import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { isSegment } from '@damon/protocol/names'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { addressRules } from './addresses.ts'
import { deliveryRules } from './delivery-rules.ts'
import { certsError } from './errors.ts'

const host = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const units = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** The kinds of certificate keys; the first is what is made when nothing is said. */
export const keyTypes = ['p256', 'p384', 'rsa2048'] as const
export type KeyType = (typeof keyTypes)[number]

/** A DNS name, perhaps with `*.` in front; reads to lower-case ASCII (punycode). Or an IPv4 address, as it is. */
const name = z.string().transform((text, context) => {
  const wild = text.startsWith('*.')
  const ascii = domainToASCII(wild ? text.slice(2) : text)
  const fits = host.test(ascii) && !(wild && isIP(ascii) !== 0)
  if (!fits) context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is no DNS name` })
  return wild ? `*.${ascii}` : ascii
})

const names = z
  .array(name)
  .min(1, 'needs at least one name')
  .max(100, 'may have at most 100 names')
  .refine((list) => new Set(list).size === list.length, 'names the same name twice')

const id = z.string().refine(isSegment, 'must be 1 to 64 of a-z, 0-9, dot, dash, underscore')

const directory = z.url({ protocol: /^https$/, error: 'must be an https URL' })

/** A span of time, `90m`, `12h`, `2d`; reads to ms. */
const span = z
  .string()
  .regex(/^[1-9]\d{0,3}[mhd]$/, 'must be a span of time like 90m, 12h or 2d')
  .transform((text) => Number(text.slice(0, -1)) * units[text.at(-1) as keyof typeof units])

const acmeIssuer = z.strictObject({
  type: z.literal('acme'),
  directory,
  /** Where the authority may write to. */
  email: z.email().optional(),
  /** Nobody but a person can agree to somebody's terms. */
  termsAgreed: z.literal(true, { error: 'must be true: read the terms of the authority first' }),
  /** PEM file with the CA of the directory itself, where it is not a public one. */
  caFile: z.string().optional(),
  /** Directory of the authority's test system: after a failure an order is rehearsed there first. */
  rehearsal: directory.optional(),
  /** The account at the authority that the ACME account belongs to (RFC 8555, 7.3.4); the key is base64url in a file. */
  externalAccount: z.strictObject({ kid: z.string().min(1), keyFile: z.string().min(1) }).optional(),
  /** Common name of the root that the chain shall lead to, where the authority offers several. */
  preferredChain: z.string().min(1).optional(),
  /** After so many days the account gets a new key. */
  accountKeyDays: z.int().min(1).max(3650).optional(),
  /** Whose rate limits are counted here; those of Let's Encrypt where its host is asked, else none. */
  limits: z.enum(['letsencrypt', 'none']).optional(),
})

const localIssuer = z.strictObject({
  type: z.literal('local'),
  /** Life of a certificate. */
  days: z.int().min(1).max(397).default(30),
})

const certificate = z
  .strictObject({
    issuer: z.string().optional(),
    /** Several, in the order in which they are tried. */
    issuers: z.array(z.string()).min(1, 'needs at least one issuer').optional(),
    /** So long one issuer may fail before the next one is tried. */
    fallbackAfter: span.default(units.h * 12),
    names,
    keyType: z.enum(keyTypes).default(keyTypes[0]),
    /** A profile of the authority (draft-ietf-acme-profiles), for example shortlived. */
    profile: z
      .string()
      .regex(/^[\w.-]{1,64}$/, 'must be the name of a profile')
      .optional(),
    delivery: deliveryRules,
  })
  .transform(({ issuer, issuers, ...rest }, context) => {
    const list = issuers ?? (issuer === undefined ? [] : [issuer])
    if ((issuer === undefined) === (issuers === undefined)) {
      context.addIssue({ code: 'custom', message: 'needs either issuer or issuers' })
    }
    if (new Set(list).size < list.length) context.addIssue({ code: 'custom', message: 'names the same issuer twice' })
    return { ...rest, issuers: list }
  })

const file = z.strictObject({
  issuers: z.record(id, z.discriminatedUnion('type', [acmeIssuer, localIssuer])),
  certificates: z.record(id, certificate),
  /** Names whose addresses follow a machine. */
  addresses: z.record(name, addressRules).default({}),
})

/** The certificates file: which authorities there are, and which certificate is wanted from which. */
export type Wanted = z.output<typeof file>
/** One authority of the file. */
export type WantedIssuer = Wanted['issuers'][string]
/** One ACME authority of the file. */
export type WantedAcme = Extract<WantedIssuer, { type: 'acme' }>
/** One certificate of the file, with its id. */
export type WantedCertificate = Wanted['certificates'][string] & { id: string }

/** Reads the certificates file (YAML 1.2, so JSON too); throws `bad_certificates_file` with every problem, a line each. */
export function readWanted(text: string): Wanted {
  const document = parseDocument(text)
  const broken = document.errors.map((error) => error.message)
  if (broken.length > 0) throw complaint(broken)
  const content: unknown = document.toJS() ?? {}
  const result = file.safeParse(content)
  const problems = (result.error?.issues ?? []).map(
    (issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`,
  )
  problems.push(...mismatches(content))
  if (result.success && problems.length === 0) return result.data
  throw complaint(problems)
}

/** What only shows between the parts; told also when the parts themselves have problems. */
function mismatches(content: unknown): string[] {
  const issuers = members(members(content).issuers)
  const problems: string[] = []
  for (const [id, value] of Object.entries(members(members(content).certificates))) {
    const wish = members(value)
    const path = `certificates.${id}`
    const named = Array.isArray(wish.issuers) ? wish.issuers : wish.issuer === undefined ? [] : [wish.issuer]
    for (const one of named) {
      if (!Object.hasOwn(issuers, String(one))) {
        problems.push(`${path}: names issuer ${JSON.stringify(one)}, which is not under issuers`)
        continue
      }
      const { type } = members(issuers[String(one)])
      if (type === 'local' && wish.keyType !== undefined && wish.keyType !== 'p256') {
        problems.push(`${path}.keyType: ${one} is a local issuer, which makes p256 only`)
      }
      if (type === 'local' && wish.profile !== undefined) {
        problems.push(`${path}.profile: ${one} is a local issuer, which has no profiles`)
      }
      const addresses =
        type === 'acme' && Array.isArray(wish.names) ? wish.names.filter((name) => isIP(name) !== 0) : []
      for (const address of addresses)
        problems.push(`${path}.names: ${address} is an address, which DNS cannot validate`)
    }
  }
  return problems
}

function members(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function complaint(lines: readonly string[]) {
  return certsError(
    'bad_certificates_file',
    `The certificates file is not valid.\n${lines.map((line) => `  ${line}\n`).join('')}`,
  )
}
