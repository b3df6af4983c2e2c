import { parse } from 'yaml'
import { z } from 'zod'
import type { Pool } from './pool.ts'

/** What Lavalink's own settings tell a sidecar. */
export interface LavalinkSettings {
  port?: number | undefined
  password?: string | undefined
  pool?: Pool | undefined
}

const portShape = z.coerce.number().int().min(1).max(65_535)
const yamlShape = z.object({
  server: z.object({ port: portShape.optional() }).nullish(),
  lavalink: z
    .object({
      server: z
        .object({
          password: z.coerce.string().optional(),
          ratelimit: z.object({ ipBlocks: z.array(z.string()).nullish(), strategy: z.string().nullish() }).nullish(),
        })
        .nullish(),
    })
    .nullish(),
})

/** Reads `application.yml`. Throws with what is wrong, and never with what it holds. */
export function readApplicationYml(text: string): LavalinkSettings {
  let content: unknown
  try {
    content = parse(text, { logLevel: 'error' })
  } catch {
    throw new Error('is not YAML')
  }
  const result = yamlShape.safeParse(content ?? {})
  if (!result.success) throw new Error(`has a wrong ${result.error.issues[0]?.path.join('.') || 'form'}`)
  const { server, lavalink } = result.data
  const { ipBlocks, strategy } = lavalink?.server?.ratelimit ?? {}
  return {
    port: server?.port,
    password: lavalink?.server?.password,
    pool: ipBlocks?.length ? { blocks: ipBlocks, strategy: strategy ?? 'RotateOnBan' } : undefined,
  }
}

/** Reads the environment of Lavalink's container, in which Spring takes names with any underscores. */
export function readLavalinkEnvironment(variables: readonly string[]): LavalinkSettings {
  const known = new Map<string, string>()
  for (const variable of variables) {
    const [name = '', ...value] = variable.split('=')
    known.set(name.toUpperCase().replace(/[^A-Z0-9]/g, ''), value.join('='))
  }
  const port = portShape.safeParse(known.get('SERVERPORT'))
  const prefix = 'LAVALINKSERVERRATELIMITIPBLOCKS'
  const numbered = [...known].filter(([name]) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
  numbered.sort(([one], [other]) => Number(one.slice(prefix.length)) - Number(other.slice(prefix.length)))
  const listed = known.get(prefix)?.split(',') ?? []
  const blocks = [...numbered.map(([, value]) => value), ...listed]
    .map((block) => block.trim())
    .filter((block) => block)
  const strategy = known.get('LAVALINKSERVERRATELIMITSTRATEGY') ?? 'RotateOnBan'
  return {
    port: port.success ? port.data : undefined,
    password: known.get('LAVALINKSERVERPASSWORD') || undefined,
    pool: blocks.length > 0 ? { blocks, strategy } : undefined,
  }
}

/** One on top of the other: what `over` does not say, `under` does. */
export function overlay(over: LavalinkSettings, under: LavalinkSettings): LavalinkSettings {
  return {
    port: over.port ?? under.port,
    password: over.password ?? under.password,
    pool: over.pool ?? under.pool,
  }
}
