import { domainToASCII } from 'node:url'
import { isSegment } from '@damon/protocol/names'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { deliveryRules } from './delivery-rules.ts'
import { certsError } from './errors.ts'

const host = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** A DNS name, perhaps with `*.` in front; reads to lower-case ASCII (punycode). */
const name = z.string().transform((text, context) => {
  const wild = text.startsWith('*.')
  const ascii = domainToASCII(wild ? text.slice(2) : text)
  if (!host.test(ascii)) context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is no DNS name` })
  return wild ? `*.${ascii}` : ascii
})

const names = z
  .array(name)
  .min(1, 'needs at least one name')
  .max(100, 'may have at most 100 names')
  .refine((list) => new Set(list).size === list.length, 'names the same name twice')

const id = z.string().refine(isSegment, 'must be 1 to 64 of a-z, 0-9, dot, dash, underscore')

const acmeIssuer = z.strictObject({
  type: z.literal('acme'),
  directory: z.url({ protocol: /^https$/, error: 'must be an https URL' }),
  /** Where the authority may write to. */
  email: z.email().optional(),
  /** Nobody but a person can agree to somebody's terms. */
  termsAgreed: z.literal(true, { error: 'must be true: read the terms of the authority first' }),
  /** PEM file with the CA of the directory itself, where it is not a public one. */
  caFile: z.string().optional(),
})

const localIssuer = z.strictObject({
  type: z.literal('local'),
  /** Life of a certificate. */
  days: z.int().min(1).max(397).default(30),
})

const file = z
  .strictObject({
    issuers: z.record(id, z.discriminatedUnion('type', [acmeIssuer, localIssuer])),
    certificates: z.record(id, z.strictObject({ issuer: z.string(), names, delivery: deliveryRules })),
  })
  .superRefine(({ issuers, certificates }, context) => {
    for (const [certificate, { issuer }] of Object.entries(certificates)) {
      if (Object.hasOwn(issuers, issuer)) continue
      const message = `names issuer ${JSON.stringify(issuer)}, which is not under issuers`
      context.addIssue({ code: 'custom', path: ['certificates', certificate, 'issuer'], message })
    }
  })

/** The certificates file: which authorities there are, and which certificate is wanted from which. */
export type Wanted = z.output<typeof file>
/** One authority of the file. */
export type WantedIssuer = Wanted['issuers'][string]
/** One certificate of the file, with its id. */
export type WantedCertificate = Wanted['certificates'][string] & { id: string }

/** Reads the certificates file (YAML 1.2, so JSON too); throws `bad_certificates_file` with every problem, a line each. */
export function readWanted(text: string): Wanted {
  const document = parseDocument(text)
  const broken = document.errors.map((error) => error.message)
  if (broken.length > 0) throw complaint(broken)
  const result = file.safeParse(document.toJS() ?? {})
  if (result.success) return result.data
  throw complaint(result.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`))
}

function complaint(lines: readonly string[]) {
  return certsError(
    'bad_certificates_file',
    `The certificates file is not valid.\n${lines.map((line) => `  ${line}\n`).join('')}`,
  )
}
