import { readFileSync } from 'node:fs'
import { isSegment } from '@damon/protocol/names'
import { Secret } from '@damon/runtime/secret'
import { parse } from 'yaml'
import { z } from 'zod'
import type { Pool } from './pool.ts'

/** One Lavalink to look after. */
export interface NodeSettings {
  /** The name in the records. */
  id: string
  /** Where this sidecar reaches it. */
  url: URL
  password: Secret
  /** Where bots reach it, as far as that was configured. */
  address?: string | undefined
  port?: number | undefined
  secure?: boolean | undefined
  region?: string | undefined
  /** Its container, by id or name, where Docker is used. */
  container?: string | undefined
  pool?: Pool | undefined
}

/** A name in the records. */
export const nodeName = z.string().refine(isSegment, 'must be 1 to 64 of a-z, 0-9, dot, dash and underscore')

/** A host name or an IP address. */
export const hostName = z.string().regex(/^[\w.:-]{1,253}$/, 'must be a host name or an IP address, without port')

/** Where a Lavalink is asked. */
export const lavalinkUrl = z
  .string()
  .transform((text) => URL.parse(text))
  .refine((url) => url !== null && ['http:', 'https:'].includes(url.protocol), 'must be an http:// or https:// URL')
  .transform((url) => url as URL)
  .refine((url) => url.username === '' && url.password === '', 'must not hold a password: that is LAVALINK_PASSWORD')
  .refine((url) => url.search === '' && url.hash === '', 'must end with its path')

/** Whether an HTTP header can carry it. */
export const isPassword = (text: string): boolean => /^[\x20-\x7e]+$/.test(text)

const entry = z
  .strictObject({
    id: nodeName,
    url: lavalinkUrl,
    password: z.string().optional(),
    passwordFile: z.string().optional(),
    address: hostName.optional(),
    port: z.int().min(1).max(65_535).optional(),
    secure: z.boolean().optional(),
    region: nodeName.optional(),
    container: z.string().optional(),
  })
  .transform(({ password, passwordFile, ...rest }, context): NodeSettings => {
    const text = password ?? (passwordFile === undefined ? undefined : readText(passwordFile))
    if (text === undefined || text.length < 8 || !isPassword(text)) {
      context.addIssue({
        code: 'custom',
        message: `${rest.id} needs a password of at least 8 characters, or a passwordFile that can be read`,
      })
      return z.NEVER
    }
    return { ...rest, password: new Secret(text) }
  })

/** The YAML text of LAVALINKS: `nodes`, a list of Lavalinks. */
export const nodeList = z.string().transform((text, context): NodeSettings[] => {
  let content: unknown
  try {
    content = parse(text, { logLevel: 'error' })
  } catch {
    context.addIssue({ code: 'custom', message: 'is not YAML' })
    return z.NEVER
  }
  const result = z.object({ nodes: z.array(entry).min(1).max(64) }).safeParse(content)
  const issue = result.error?.issues[0]
  const ids = result.data?.nodes.map(({ id }) => id) ?? []
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  if (issue) context.addIssue({ code: 'custom', message: `${issue.path.join('.') || 'the whole'}: ${issue.message}` })
  else if (twice !== undefined) context.addIssue({ code: 'custom', message: `has "${twice}" twice` })
  return result.data?.nodes ?? z.NEVER
})

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trimEnd()
  } catch {
    return undefined
  }
}
