import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

/** The programs that tests run, each with the Debian package it comes in. */
const tools = {
  'redis-server': 'redis-server',
  pebble: 'pebble',
  'pebble-challtestsrv': 'pebble',
  nginx: 'nginx-light',
  haproxy: 'haproxy',
  wrk: 'wrk',
  chromium: 'chromium',
} as const

const installMs = 10 * 60_000

/** Run by vitest before all tests: the programs that they need are there, or the run ends with what to install. */
export async function setup(): Promise<void> {
  const folders = (process.env.PATH ?? '').split(delimiter)
  if (!folders.includes('/usr/sbin')) folders.push('/usr/sbin')
  process.env.PATH = folders.join(delimiter)
  await provideTools(folders)
}

/**
 * Resolves once every tool is in one of the folders. Missing ones are installed where that is possible without asking: as
 * root, with apt-get in one of the folders. Otherwise rejects at once.
 */
export async function provideTools(folders: readonly string[]): Promise<void> {
  const missing = missingTools(folders)
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((tool) => tools[tool]))]
  const aptGet = find('apt-get', folders)
  if (!aptGet || process.getuid?.() !== 0) throw new Error(whatToInstall(missing, packages))
  process.stderr.write(`The tests need ${missing.join(', ')}: installing ${packages.join(' ')} with apt-get.\n`)
  try {
    await install(packages)
  } catch (error) {
    throw new Error(`${whatToInstall(missing, packages)}\napt-get could not: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const still = missingTools(folders)
  if (still.length > 0) throw new Error(whatToInstall(still, packages))
}

/** The tools that are in none of the folders. */
function missingTools(folders: readonly string[]): (keyof typeof tools)[] {
  return (Object.keys(tools) as (keyof typeof tools)[]).filter((tool) => !find(tool, folders))
}

function find(program: string, folders: readonly string[]): string | undefined {
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

function whatToInstall(missing: readonly string[], packages: readonly string[]): string {
  return [
    `The tests need ${missing.join(', ')} on the PATH.`,
    `On Debian or Ubuntu: sudo apt-get install ${packages.join(' ')}`,
    'Elsewhere: Redis 7 from https://redis.io, Pebble and pebble-challtestsrv from https://github.com/letsencrypt/pebble,',
    'nginx 1.22 or newer from https://nginx.org, HAProxy 2.6 or newer from https://www.haproxy.org, wrk from https://github.com/wg/wrk,',
    'Chromium from https://www.chromium.org',
  ].join('\n')
}

/** One installation at a time on the machine; the policy keeps Debian from starting a daemon of its own. */
async function install(packages: readonly string[]): Promise<void> {
  const script = `
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap 'rm -f $policy' EXIT
      printf '#!/bin/sh\\nexit 101\\n' >$policy
      chmod 755 $policy
    fi
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends "$@"
  `
  const args = ['--timeout', '600', '/tmp/damon-requirements.lock', 'sh', '-ec', script, 'sh', ...packages]
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await promisify(execFile)('flock', args, { env, timeout: installMs, maxBuffer: 16 * 1024 * 1024 })
}
