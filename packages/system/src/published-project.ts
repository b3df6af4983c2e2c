import { execFile } from 'node:child_process'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startPackageRegistry } from '@damon/testkit/package-registry'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { buildPackage } from '../../client/publish/build.ts'

const workspace = fileURLToPath(new URL('../../../', import.meta.url))
const execute = promisify(execFile)

/** A project outside of this workspace that installed the SDK as it is published; removed when disposed. */
export interface PublishedProject extends AsyncDisposable {
  readonly path: string
  /** Writes a file of the project and returns its path. */
  write(name: string, text: string): Promise<string>
  /** What TypeScript finds wrong with some files; empty when all is well. */
  typeErrors(files: readonly string[], compilerOptions: object): Promise<string>
}

/**
 * Builds the SDK, packs it, and installs the tarball with `npm install` into a project that was empty, together with
 * other packages that this workspace has. Needs no network.
 */
export async function installPublished(others: readonly string[] = []): Promise<PublishedProject> {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await temporaryFolder()).path
  const env = { PATH: process.env.PATH, HOME: folder, npm_config_cache: join(folder, 'cache') }
  const built = join(folder, 'built')
  await buildPackage(built)
  await execute('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: built, env })
  const [tarball = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'))
  const path = join(folder, 'project')
  await mkdir(path)
  const write = async (name: string, text: string) => {
    await writeFile(join(path, name), text)
    return join(path, name)
  }
  await write('package.json', '{"private":true,"type":"module"}')
  {
    await using registry = await startPackageRegistry(join(workspace, 'node_modules/.pnpm'))
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--registry', registry.url]
    await execute('npm', ['install', join(folder, tarball), ...others, ...quiet], { cwd: path, env })
  }
  const owned = resources.move()
  return {
    path,
    write,
    async typeErrors(files, compilerOptions) {
      const config = await write(`tsconfig.${files[0]}.json`, JSON.stringify({ compilerOptions, files }))
      const tsc = join(workspace, 'node_modules/typescript/bin/tsc')
      const checked = execute(process.execPath, [tsc, '-p', config], { cwd: path })
      return checked.then(
        () => '',
        (error: Error & { stdout?: string }) => error.stdout || String(error),
      )
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
