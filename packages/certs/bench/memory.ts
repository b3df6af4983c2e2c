import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { trustedIssuer } from '@damon/testkit/trusted-issuer'
import { parse } from 'yaml'

/**
 * What certs takes with many certificates: bundles the service as its image does, has it issue that many by its local
 * issuer with no hub in reach, starts it again on what it has, and prints its resident memory. Flags and environment are
 * those of docker-compose.yml.
 * `node packages/certs/bench/memory.ts [COUNT] [MORE NODE FLAGS]`
 */
const count = Number(process.argv[2] ?? 1_000)
const root = fileURLToPath(new URL('../../..', import.meta.url))
const { certs } = parse(await readFile(join(root, 'docker-compose.yml'), 'utf8'), { merge: true }).services
const [, ...command] = certs.command as string[]
const flags = [certs.build.args.NODE_FLAGS, ...command.slice(0, -1), ...process.argv.slice(3)]
await using folder = await temporaryFolder()
const file = (name: string) => join(folder.path, name)
execFileSync('rolldown', ['--config', 'docker/rolldown.config.mjs'], {
  cwd: root,
  env: { ...process.env, SERVICE: 'certs', OUT: file('out') },
  stdio: 'ignore',
})
const { credential } = await trustedIssuer()
const rights = ['join:certs', 'issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
const connection = { ...(await credential('certs/one', rights)), urls: ['wss://127.0.0.1:9'] }
await writeFile(file('connection.json'), JSON.stringify(connection), { mode: 0o600 })
const certificates = Object.fromEntries(
  Array.from({ length: count }, (_, n) => [`c${n}`, { issuer: 'own', names: [`n${n}.test`, `*.n${n}.test`] }]),
)
await writeFile(file('wanted.json'), JSON.stringify({ issuers: { own: { type: 'local' } }, certificates }))
await mkdir(file('state'))

const first = await run('"msg":"issued"')
const second = await run('"msg":"next attempt"')
process.stdout.write(
  `${count} certificates: ${second} MiB resident after a start, ${first} MiB after issuing them all\n`,
)

/** Runs the service until so many lines hold the text, then tells its resident memory, MiB. */
async function run(text: string): Promise<number> {
  const child = spawn(process.execPath, [...flags, file('out/main.mjs')], {
    env: {
      PATH: process.env.PATH,
      MALLOC_ARENA_MAX: String(certs.environment.MALLOC_ARENA_MAX),
      CERTS_CONFIG_FILE: file('wanted.json'),
      CERTS_STATE_DIR: file('state'),
      CERT_STORE_KEY: '00'.repeat(32),
      DAMON_CONNECTION_FILE: file('connection.json'),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let seen = 0
  for await (const chunk of child.stdout!) {
    seen += String(chunk).split(text).length - 1
    if (seen >= count) break
  }
  const resident = await residentMiB(child)
  child.kill('SIGTERM')
  await once(child, 'exit')
  return resident
}

async function residentMiB({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
}
