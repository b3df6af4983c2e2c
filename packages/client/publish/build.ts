import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = fileURLToPath(new URL('.', import.meta.url))
const client = join(here, '..')
const packages = join(client, '..')

/** What the SDK is made of: its own modules, and those of the workspace that it takes with it. */
const parts = ['client', 'protocol', 'trust']

/** Libraries of bots, which come from whoever uses the adapter for one. */
const optional = ['lavalink-client', 'shoukaku']

/**
 * Builds the SDK as it is published into a folder, which is emptied first: ECMAScript modules and their types for Node
 * >= 20.19 and browsers, with the modules of protocol and trust inside. `npm pack` makes the tarball of it.
 */
export async function buildPackage(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await compile(folder)
  for (const part of parts) {
    await rename(join(folder, part), join(folder, `${part}.built`))
    await rename(join(folder, `${part}.built`, 'src'), join(folder, part))
    await rm(join(folder, `${part}.built`), { recursive: true })
  }
  const needs = new Set<string>()
  for (const file of await readdir(folder, { recursive: true }))
    if (/\.(js|d\.ts)$/.test(file)) await finish(folder, file, needs)
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(await manifest(needs), null, 2)}\n`)
  await cp(join(client, 'README.md'), join(folder, 'README.md'))
}

async function compile(folder: string): Promise<void> {
  const tsc = fileURLToPath(import.meta.resolve('typescript/package.json'))
  try {
    await promisify(execFile)(process.execPath, [join(dirname(tsc), 'bin/tsc'), '-p', here, '--outDir', folder])
  } catch (error) {
    throw new Error(`The SDK does not compile:\n${(error as { stdout?: string }).stdout}`, { cause: error })
  }
}

/** Makes a module's imports those of the published package, and notes which others it needs. */
async function finish(folder: string, file: string, needs: Set<string>): Promise<void> {
  const path = join(folder, file)
  const text = await readFile(path, 'utf8')
  const resolved = text.replace(/(\bfrom |\bimport\(|^import )(['"])([^'"]+)\2/gm, (_, head, quote, specifier) => {
    return `${head}${quote}${resolve(file, specifier, needs)}${quote}`
  })
  // A project whose own libraries end with ES2022 or so knows no Disposable.
  const disposable = file.endsWith('.d.ts') && /\b(Async)?Disposable\b|\b(asyncD|d)ispose\b/.test(resolved)
  await writeFile(path, disposable ? `/// <reference lib="esnext.disposable" />\n${resolved}` : resolved)
}

function resolve(file: string, specifier: string, needs: Set<string>): string {
  const [, part, module] = /^@damon\/([^/]+)\/(.+)$/.exec(specifier) ?? []
  if (part !== undefined) {
    if (!parts.includes(part)) throw new Error(`${file} needs ${specifier}, which is not published.`)
    const path = relative(dirname(file), join(part, `${module}.js`))
    return path.startsWith('.') ? path : `./${path}`
  }
  if (specifier.startsWith('.')) return specifier.replace(/\.ts$/, '.js')
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(specifier) ?? []
  if (name && !specifier.startsWith('node:') && !specifier.startsWith('#')) needs.add(name)
  return specifier
}

async function manifest(needs: ReadonlySet<string>): Promise<object> {
  const { name, version, description, imports } = JSON.parse(await readFile(join(client, 'package.json'), 'utf8'))
  const built = (text: string) => text.replace('./src/', './client/').replace(/\.ts$/, '.js')
  const versions = await Promise.all([...needs].sort().map(async (need) => [need, await versionOf(need)] as const))
  const peers = versions.filter(([need]) => optional.includes(need))
  return {
    ...{ name, version, description, type: 'module', sideEffects: false, engines: { node: '>=20.19' } },
    exports: {
      './protocol/*': { types: './protocol/*.d.ts', default: './protocol/*.js' },
      './*': { types: './client/*.d.ts', default: './client/*.js' },
    },
    imports: JSON.parse(JSON.stringify(imports), (_, value) => (typeof value === 'string' ? built(value) : value)),
    dependencies: Object.fromEntries(versions.filter(([need]) => !optional.includes(need))),
    peerDependencies: Object.fromEntries(peers),
    peerDependenciesMeta: Object.fromEntries(peers.map(([need]) => [need, { optional: true }])),
  }
}

/** As the workspace has it, or newer. */
async function versionOf(need: string): Promise<string> {
  for (const part of parts) {
    const path = join(packages, part, 'node_modules', need, 'package.json')
    const text = await readFile(path, 'utf8').catch(() => undefined)
    if (text !== undefined) return `^${(JSON.parse(text) as { version: string }).version}`
  }
  throw new Error(`No part of the SDK declares ${need}.`)
}
