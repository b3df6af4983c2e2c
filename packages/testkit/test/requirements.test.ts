import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { provideTools } from '../src/requirements.ts'
import { temporaryFolder } from '../src/temporary-folder.ts'

it('says at once what to install where nothing can install it', async () => {
  await using empty = await temporaryFolder()
  const providing = provideTools([empty.path])
  await expect(providing).rejects.toThrow(
    'The tests need redis-server, pebble, pebble-challtestsrv, nginx, haproxy, wrk, chromium on the PATH.',
  )
  await expect(providing).rejects.toThrow('sudo apt-get install redis-server pebble nginx-light haproxy wrk chromium')
})

it('names only what is missing, and is content once it is there', async () => {
  await using folder = await temporaryFolder()
  for (const tool of ['pebble', 'pebble-challtestsrv', 'redis-server', 'nginx', 'haproxy', 'wrk', 'chromium']) {
    await expect(provideTools(['', folder.path])).rejects.toThrow(tool)
    await writeFile(join(folder.path, tool), '')
    await expect(provideTools(['', folder.path])).rejects.toThrow(tool)
    await chmod(join(folder.path, tool), 0o755)
  }
  await expect(provideTools(['', folder.path])).resolves.toBeUndefined()
})
