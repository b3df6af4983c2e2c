import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile, realpath } from 'node:fs/promises'
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

/** Serves the packages in these `node_modules` folders, the first that has a name; each is packed when it is asked for. */
export async function startPackageRegistry(folders: readonly string[]): Promise<PackageRegistry> {
  const packed = new Map<string, Promise<Packed>>()
  const find = (name: string): Promise<Packed> => {
    const known = packed.get(name) ?? pack(name, folders)
    packed.set(name, known)
    return known
  }
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1)
    const isTarball = path.endsWith('.tgz')
    try {
      const { manifest, tarball } = await find(isTarball ? path.slice(0, -'.tgz'.length) : path)
      response.end(isTarball ? tarball : JSON.stringify(packument(manifest, tarball, url)))
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

async function pack(name: string, folders: readonly string[]): Promise<Packed> {
  for (const folder of folders) {
    const path = await realpath(join(folder, name)).catch(() => undefined)
    if (path === undefined) continue
    // Stores keep equal files once, and npm leaves out what is a link.
    const args = [
      '-cz',
      '--hard-dereference',
      '-C',
      dirname(path),
      '--exclude=node_modules',
      `--transform=s,^${basename(path)},package,`,
    ]
    const options = { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 } as const
    const { stdout } = await promisify(execFile)('tar', [...args, basename(path)], options)
    return { manifest: JSON.parse(await readFile(join(path, 'package.json'), 'utf8')), tarball: stdout }
  }
  throw new Error(`${name} is not installed here.`)
}

function packument(manifest: Packed['manifest'], tarball: Buffer, url: string): object {
  const { name, version } = manifest
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
  const dist = { tarball: `${url}/${encodeURIComponent(name)}.tgz`, integrity }
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }
}
