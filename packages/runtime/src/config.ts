import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { Secret } from './secret.ts'

/** What a service reads from its environment: names of variables in upper case, each with its schema. */
export type ConfigShape = z.ZodRawShape

/** What a shape reads to. */
export type Config<Shape extends ConfigShape> = z.output<z.ZodObject<Shape>>

/** The environment does not fit; `problems` has one line for each variable to correct, never its value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'bad_config'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The configuration is not valid.\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/**
 * Reads each variable of the shape from `NAME`, or from the file that `NAME_FILE` names (white space at its end is cut).
 * An empty variable counts as not set. Throws a ConfigError with every problem at once.
 */
export function readConfig<Shape extends ConfigShape>(
  shape: Shape,
  env: Readonly<Record<string, string | undefined>>,
): Config<Shape> {
  const problems: string[] = []
  const unread = new Set<string>()
  const values: Record<string, string> = {}
  for (const name of Object.keys(shape)) {
    try {
      const value = readVariable(name, shape, env)
      if (value !== undefined) values[name] = value
    } catch (error) {
      unread.add(name)
      problems.push(`${name} ${(error as Error).message}`)
    }
  }
  const result = z.object(shape).safeParse(values)
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0] ?? 'The environment')
    if (unread.has(name)) continue
    problems.push(name in values ? `${name} ${issue.message}` : `${name} is required (or ${name}_FILE)`)
  }
  if (problems.length > 0 || !result.success) throw new ConfigError(problems)
  return result.data
}

function readVariable(name: string, shape: ConfigShape, env: Readonly<Record<string, string | undefined>>) {
  const value = env[name] || undefined
  const fileName = `${name}_FILE`
  const path = fileName in shape ? undefined : env[fileName] || undefined
  if (path === undefined) return value
  if (value !== undefined) throw new Error(`is set twice: keep either ${name} or ${fileName}`)
  const content = readText(path, fileName)
  if (content === '') throw new Error(`is empty: ${fileName} names ${path}, which has no content`)
  return content
}

function readText(path: string, fileName: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(`cannot be read: ${fileName} names ${path} (${code})`, { cause: error })
  }
}

/** A value that must never be shown, at least 8 characters; reads to a Secret. */
export function secret() {
  return z
    .string()
    .min(8, 'must have at least 8 characters')
    .transform((value) => new Secret(value))
}

/** A TCP port, 0 to 65535; 0 lets the system choose. */
export function port() {
  return integer(0, 65_535)
}

/** A duration in whole milliseconds, both bounds included. */
export function milliseconds(min: number, max: number) {
  return integer(min, max, 'milliseconds')
}

/** A whole number, both bounds included; `unit` is what the message says it counts. */
export function integer(min: number, max: number, unit = '') {
  const message = `must be a whole number from ${min} to ${max}${unit && ` (${unit})`}`
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .refine((value) => value >= min && value <= max, message)
}

/** Values parted by commas, without the white space around them; at least one. */
export function list() {
  return z
    .string()
    .transform((value) =>
      value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .refine((values) => values.length > 0, 'must name at least one, parted by commas')
}

/** Yes or no: 1, true, yes, on or 0, false, no, off. */
export function flag() {
  return z.stringbool({
    truthy: ['1', 'true', 'yes', 'on'],
    falsy: ['0', 'false', 'no', 'off'],
    error: 'must be one of true, false, yes, no, on, off, 1, 0',
  })
}

/** From which weight on a line is logged; `info` where nothing is set. */
export function logLevel() {
  return z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'must be one of trace, debug, info, warn, error, fatal, silent',
    })
    .default('info')
}
