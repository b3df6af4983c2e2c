import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import {
  ConfigError,
  type ConfigShape,
  flag,
  integer,
  list,
  logLevel,
  milliseconds,
  port,
  readConfig,
  secret,
} from '../src/config.ts'

function problemsOf(shape: ConfigShape, env: Record<string, string>): readonly string[] {
  try {
    readConfig(shape, env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

function fileWith(content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'damon-runtime-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'value'), content)
  return join(folder, 'value')
}

describe('readConfig', () => {
  it('reads each variable by its schema and ignores all others', () => {
    const shape = {
      PORT: port(),
      WAIT_MS: milliseconds(10, 60_000),
      WORKERS: integer(1, 64).default(2),
      NAMES: list(),
      STRICT: flag().default(false),
      LOG_LEVEL: logLevel(),
      NAME: z.string().optional(),
    }
    const env = { PORT: '0', WAIT_MS: '10', NAMES: ' a, b ,,c', STRICT: 'yes', NAME: '', PATH: '/bin' }
    expect(readConfig(shape, env)).toEqual({
      PORT: 0,
      WAIT_MS: 10,
      WORKERS: 2,
      NAMES: ['a', 'b', 'c'],
      STRICT: true,
      LOG_LEVEL: 'info',
    })
  })

  it.each([
    ['a fraction', { PORT: '80.5' }],
    ['a sign', { PORT: '-1' }],
    ['text', { PORT: 'http' }],
    ['too large a number', { PORT: '65536' }],
  ])('refuses %s for a port', (_, env) => {
    expect(problemsOf({ PORT: port() }, env)).toEqual(['PORT must be a whole number from 0 to 65535'])
  })

  it('names every problem at once', () => {
    const shape = { PORT: port(), WAIT_MS: milliseconds(10, 20), NAMES: list(), STRICT: flag(), TOKEN: secret() }
    expect(problemsOf(shape, { PORT: 'x', WAIT_MS: '21', NAMES: ' , ', STRICT: 'maybe' })).toEqual([
      'PORT must be a whole number from 0 to 65535',
      'WAIT_MS must be a whole number from 10 to 20 (milliseconds)',
      'NAMES must name at least one, parted by commas',
      'STRICT must be one of true, false, yes, no, on, off, 1, 0',
      'TOKEN is required (or TOKEN_FILE)',
    ])
  })

  it('reads NAME_FILE where NAME is not set, without the end of the line', () => {
    const config = readConfig({ KEY: secret() }, { KEY_FILE: fileWith('line one\nline two\n') })
    expect(config.KEY.reveal()).toBe('line one\nline two')
  })

  it('reads a variable that itself ends in _FILE as it is', () => {
    const shape = { KEY: z.string().optional(), KEY_FILE: z.string() }
    expect(readConfig(shape, { KEY_FILE: '/etc/key' })).toEqual({ KEY_FILE: '/etc/key' })
  })

  it('refuses a variable that is set twice, a file that is missing and a file that is empty', () => {
    const shape = { ONE: z.string(), TWO: z.string(), THREE: z.string().default('fallback') }
    const empty = fileWith('\n')
    const env = { ONE: 'x', ONE_FILE: empty, TWO_FILE: '/nowhere/two', THREE_FILE: empty }
    expect(problemsOf(shape, env)).toEqual([
      'ONE is set twice: keep either ONE or ONE_FILE',
      'TWO cannot be read: TWO_FILE names /nowhere/two (ENOENT)',
      `THREE is empty: THREE_FILE names ${empty}, which has no content`,
    ])
  })

  it('does not show the value of a secret that is too short', () => {
    expect(problemsOf({ TOKEN: secret() }, { TOKEN: 'hunter2' })).toEqual(['TOKEN must have at least 8 characters'])
  })
})
