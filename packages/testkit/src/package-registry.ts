import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'

/** A package registry that has what is installed here, and nothing else: npm installs from it without a network. */
export interface PackageRegistry extends AsyncDisposable {
  readonly url: string
}

interface Packed {
  manifest: { name: string; version: string }
  tarball: Buffer
}

/** Serves what pnpm keeps in a `node_modules/.pnpm`, in all its versions; each is packed when it is asked for. */
export async function startPackageRegistry(store: string): Promise<PackageRegistry> {
  const folders = await readdir(store)
  const packed = new Map<string, Promise<Packed[]>>()
  const find = (name: string): Promise<Packed[]> => {
    const own = folders.filter((folder) => folder.startsWith(`${name.replace('/', '+')}@`))
    const known = packed.get(name) ?? Promise.all(own.map((folder) => pack(join(store, folder, 'node_modules', name))))
    packed.set(name, known)
    return known
  }
  const server = createServer(async (request, response) => {
    const [name = '', version] = decodeURIComponent(request.url ?? '')
      .slice(1)
      .split(' ')
    try {
      const versions = await find(name)
      if (versions.length === 0) throw new Error(`${name} is not installed here.`)
      const tarball = versions.find(({ manifest }) => manifest.version === version)?.tarball
      response.end(tarball ?? JSON.stringify(packument(name, versions, url)))
    } catch (error) {
      response.writeHead(404).end(String(error))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function pack(path: string): Promise<Packed> {
  // Stores keep equal files once, and npm leaves out what is a link.
  const flags = ['-cz', '--hard-dereference', '--exclude=node_modules', `--transform=s,^${basename(path)},package,`]
  const options = { encoding: 'buffer', maxBuffer: 256 * 1024 * 1024 } as const
  const { stdout } = await promisify(execFile)('tar', [...flags, '-C', dirname(path), basename(path)], options)
  return { manifest: JSON.parse(await readFile(join(path, 'package.json'), 'utf8')), tarball: stdout }
}

function packument(name: string, packed: readonly Packed[], url: string): object {
  const versions = packed.map(({ manifest, tarball }) => {
    const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
    const dist = { tarball: `${url}/${encodeURIComponent(`${name} ${manifest.version}`)}`, integrity }
    return [manifest.version, { ...manifest, dist }] as const
  })
  const [latest] = versions.map(([version]) => version).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  return { name, 'dist-tags': { latest }, versions: Object.fromEntries(versions) }
}
