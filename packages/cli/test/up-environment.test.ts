import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { hubSpec } from '../src/up/services.ts'

/** What `damon up` decides itself, or a hub on one's own machine has no use for. */
const notHandedOn = new Set([
  ...[
    'HUB_HOST',
    'HUB_PORT',
    'HUB_TLS_CERT',
    'HUB_TLS_KEY',
    'HUB_ROOT_KEY',
    'HUB_TRUST',
    'HUB_AUDIENCE',
    'HUB_STATE_DIR',
  ],
  ...['HUB_CONNECTION', 'HUB_CERTIFICATE', 'HUB_NAMES', 'ALLOW_DEV_KEYS'],
])

test('every other variable that the hub reads is handed on to it', async () => {
  const source = await readFile(new URL('../../hub/src/config.ts', import.meta.url), 'utf8')
  const names = [...source.matchAll(/^ {2}((?:HUB|REDIS|ALLOW)_[A-Z_]+):/gm)].map(([, name]) => name!)
  expect(names).toContain('HUB_RESUME_MS')
  const wanted = names.filter((name) => !notHandedOn.has(name))
  const home = { ca: {}, keys: {}, hubState: '' } as unknown as Parameters<typeof hubSpec>[0]
  const { env } = hubSpec(home, Object.fromEntries(wanted.map((name) => [name, 'given'])), { port: 0, aud: '' })
  const handed = env(undefined)
  expect(wanted.filter((name) => handed[name] !== 'given')).toEqual([])
})
