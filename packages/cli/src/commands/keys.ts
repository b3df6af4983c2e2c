import { resolve } from 'node:path'
import { readConfig, secret } from '@damon/runtime/config'
import type { Command } from 'commander'
import { findHome, keyPaths } from '../home.ts'
import { createKeys, firstIssuer } from '../keys.ts'
import type { Terminal } from '../terminal.ts'

interface Options {
  dir?: string
  aud: string
  json?: boolean
}

/** `keys init`: the root of all trust, made once. */
export function addKeys(program: Command, terminal: Terminal): void {
  const keys = program.command('keys').description('Root and issuer keys.')
  keys
    .command('init')
    .description('Make a root key, the first issuer and the trust list. Never overwrites.')
    .option('--dir <folder>', 'where to (default: keys under DAMON_HOME)')
    .option('--aud <name>', 'audience: the installation that the keys are for', 'damon:main')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nDAMON_ROOT_PASSPHRASE or DAMON_ROOT_PASSPHRASE_FILE encrypts the root private key.')
    .action((options: Options) => initKeys(options, terminal))
}

async function initKeys({ dir, aud, json }: Options, terminal: Terminal): Promise<void> {
  const paths = dir ? keyPaths(resolve(terminal.cwd, dir)) : findHome(terminal.env, terminal.cwd).keys
  const { DAMON_ROOT_PASSPHRASE: passphrase } = readConfig({ DAMON_ROOT_PASSPHRASE: secret().optional() }, terminal.env)
  await createKeys(paths, { aud, dev: false, passphrase })
  const made = {
    root: paths.root,
    rootPublic: paths.rootPublic,
    issuer: paths.issuer(firstIssuer),
    trust: paths.trust,
    encrypted: passphrase !== undefined,
  }
  if (json) return terminal.print(JSON.stringify(made))
  terminal.print(`root private key  ${made.root}${made.encrypted ? ' (encrypted)' : ''}
root public key   ${made.rootPublic}
issuer ${firstIssuer}       ${made.issuer}
trust list        ${made.trust}

The hub needs the root public key and the trust list. Keep the root private key elsewhere, offline.`)
  if (!passphrase)
    terminal.note('warning: the root private key lies there in clear; no DAMON_ROOT_PASSPHRASE was given.')
}
