import { resolve } from 'node:path'
import { type Credential, encodeJoin, parseCredential } from '@damon/trust/credential'
import { readToken, type TokenClaims, verifyToken } from '@damon/trust/token'
import { verifyTrustList } from '@damon/trust/trust-list'
import { type Command, Option } from 'commander'
import * as parse from '../arguments.ts'
import { CliError } from '../cli-error.ts'
import { findConnection, readConnection } from '../connection.ts'
import { createFile, readText } from '../files.ts'
import { findHome, type Home, keyPaths } from '../home.ts'
import { firstIssuer, readKeys } from '../keys.ts'
import { connectionText, mintCredential } from '../minting.ts'
import { type ProfileName, profileNames, profiles } from '../profiles.ts'
import { instant, printable, span } from '../table.ts'
import type { Terminal } from '../terminal.ts'

const day = 86_400_000
const loopback = /^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/

interface MintOptions {
  can?: string[]
  profile?: ProfileName
  ttl?: number
  bearer?: boolean
  url?: string[]
  ca?: string
  keys?: string
  issuer: string
  out?: string
  join?: boolean
  json?: boolean
}

/** `token mint` and `token inspect`. */
export function addToken(program: Command, terminal: Terminal): void {
  const token = program.command('token').description('Connection files and the tokens in them.')
  token
    .command('mint')
    .description('Make one connection file (mode 0600): all that a service needs to connect.')
    .argument('<sub>', 'whom for: SERVICE/INSTANCE', parse.subject)
    .option('--can <capabilities>', 'verb:subject, parted by commas; may be repeated', parse.gathered)
    .addOption(new Option('--profile <name>', 'a ready-made set of capabilities').choices(profileNames))
    .option('--ttl <duration>', 'how long it is valid (default: 90d; bearer: 24h)', parse.duration)
    .option('--bearer', 'without a key of its own: at most 24h, for scripts')
    .option(
      '--url <urls>',
      'hubs, wss://HOST:PORT, parted by commas (default: those of the operator here)',
      parse.hubUrls,
    )
    .option('--ca <file>', "PEM of the authority behind the hub's certificate, unless it is a public one")
    .option('--keys <folder>', 'where the issuer lies (default: keys under DAMON_HOME)')
    .option('--issuer <kid>', 'the issuer that signs', firstIssuer)
    .addOption(new Option('--out <file>', 'where to (default: connections under DAMON_HOME)').conflicts('join'))
    .option('--join', 'print one DAMON_JOIN string instead of writing a file')
    .option('--json', 'print JSON')
    .addHelpText('after', `\nProfiles\n${profileHelp()}`)
    .action((sub: string, options: MintOptions) => mint(sub, options, terminal))
  token
    .command('inspect')
    .description(
      'Show what a connection file, DAMON_JOIN string or token says, and whether it holds. Prints no secret.',
    )
    .argument('[source]', 'file, or - for standard input (default: the connection that commands would use)')
    .option('--json', 'print JSON')
    .action((source: string | undefined, { json }: { json?: boolean }) => inspect(source, json ?? false, terminal))
}

async function mint(sub: string, options: MintOptions, terminal: Terminal): Promise<void> {
  const home = findHome(terminal.env, terminal.cwd)
  const can = [...(options.profile ? profiles[options.profile].can : []), ...(options.can ?? [])]
  if (can.length === 0) throw new CliError('bad_argument', 'It could do nothing: give --profile or --can.')
  const ttl = options.ttl ?? (options.bearer ? day : 90 * day)
  if (options.bearer && ttl > day) throw new CliError('bad_argument', 'A bearer token is valid for at most 24h.')
  const keys = await readKeys(options.keys ? keyPaths(resolve(terminal.cwd, options.keys)) : home.keys, options.issuer)
  const urls = options.url ?? (await operatorUrls(home))
  const ca = options.ca ? await readCa(resolve(terminal.cwd, options.ca)) : await localCa(home, urls)
  const wish = { sub, can, ttl, bearer: options.bearer ?? false, urls, ca }
  const credential = await mintCredential(keys, wish, Date.now())
  if (options.join) {
    const join = encodeJoin(credential)
    terminal.print(options.json ? JSON.stringify({ join }) : join)
    return terminal.note('This string is a secret: whoever has it is that service.')
  }
  const file = options.out ? resolve(terminal.cwd, options.out) : home.connection(sub.replace('/', '-'))
  await createFile(file, connectionText(credential))
  const claims = readToken(credential.token)
  if (options.json) return terminal.print(JSON.stringify({ file, ...summary(credential, claims) }))
  terminal.print(`${file}\n\n${page(credential, claims)}`)
}

async function inspect(source: string | undefined, json: boolean, terminal: Terminal): Promise<void> {
  const found = await readSource(source, terminal)
  const credential = 'token' in found ? found : undefined
  const claims = readToken('token' in found ? found.token : found.raw)
  const problem = credential ? await problemOf(credential) : undefined
  const state = credential ? (problem ? problem.code : 'valid') : 'not_verified'
  if (json) terminal.print(JSON.stringify({ ...summary(credential, claims), state }))
  else terminal.print(`${page(credential, claims)}\nstate       ${state.replace('_', ' ')}`)
  if (problem) throw problem
}

async function readSource(source: string | undefined, terminal: Terminal): Promise<Credential | { raw: string }> {
  if (source === undefined) return readConnection(findConnection({}, terminal))
  const text = source === '-' ? await terminal.input() : await readText(resolve(terminal.cwd, source))
  if (text === undefined) throw new CliError('no_connection', `There is no file ${resolve(terminal.cwd, source)}.`)
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text.trim()) ? { raw: text.trim() } : parseCredential(text)
}

/** Why a hub with this trust list would refuse it now. */
async function problemOf({
  aud,
  identity,
  root,
  token,
  trust,
}: Credential): Promise<(Error & { code: string }) | undefined> {
  try {
    const list = await verifyTrustList(trust, root, { aud })
    const { cnf } = await verifyToken(token, list, { aud, now: Date.now() })
    if (cnf && cnf.jwk.x !== identity?.x) {
      return new CliError('bad_keys', 'The token is bound to another key than the one in the file. Mint a new one.')
    }
    return undefined
  } catch (error) {
    return error as Error & { code: string }
  }
}

function summary(credential: Credential | undefined, { aud, can, cnf, exp, iat, jti, sub }: TokenClaims) {
  const issued = new Date(iat * 1000).toISOString()
  const expires = new Date(exp * 1000).toISOString()
  return { sub, jti, aud, urls: credential?.urls ?? [], issued, expires, bound: cnf !== undefined, can }
}

function page(credential: Credential | undefined, { aud, can, cnf, exp, iat, jti, sub }: TokenClaims): string {
  const left = exp * 1000 - Date.now()
  const when = left > 0 ? `in ${span(left)}` : `${span(-left)} ago`
  return [
    `subject     ${sub}`,
    `hubs        ${credential ? credential.urls.map(printable).join(', ') : 'not in a token'}`,
    `audience    ${printable(aud)}`,
    `token id    ${jti}`,
    `issued      ${instant(iat * 1000)}`,
    `expires     ${instant(exp * 1000)} (${when})`,
    `bound       ${cnf ? 'to its own key' : 'no: a bearer token'}`,
    `may         ${can.map(printable).join('\n            ')}`,
  ].join('\n')
}

async function operatorUrls(home: Home): Promise<string[]> {
  const text = await readText(home.connection('operator'))
  if (text !== undefined) return parseCredential(text).urls
  throw new CliError('bad_argument', 'Say which hub to connect to: --url wss://HOST:PORT.')
}

async function readCa(path: string): Promise<string> {
  const pem = await readText(path)
  if (pem?.includes('-----BEGIN CERTIFICATE-----')) return pem
  throw new CliError('unreadable', `--ca: ${path} is ${pem === undefined ? 'not there' : 'no PEM certificate'}.`)
}

/** The authority that `damon up` made signs for this machine's own names and for no others. */
async function localCa(home: Home, urls: readonly string[]): Promise<string | undefined> {
  return urls.every((url) => loopback.test(new URL(url).hostname)) ? readText(home.ca.certificate) : undefined
}

function profileHelp(): string {
  return profileNames.map((name) => `  ${name.padEnd(12)}${profiles[name].about}`).join('\n')
}
