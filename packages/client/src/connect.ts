import { damonError } from '@damon/protocol/errors'
import { type Credential, parseCredential } from '@damon/trust/credential'
import { readEnvironment, readFile } from '#credential-source'
import { dial } from '#transport'
import { Hub, type HubOptions } from './hub.ts'
import { checkHubUrl } from './transport.ts'

/**
 * Connects to the hub. `source` is the path of a connection file, a `damon1.…` string or a credential; without it, the
 * environment's `DAMON_JOIN` or `DAMON_CONNECTION_FILE`. Waits for the hub as long as it takes; rejects when refused for
 * good (`bad_token`, `token_expired`, …), with `bad_credential`, or with the signal's reason.
 */
export async function connect(source?: string | Credential, options: HubOptions = {}): Promise<Hub> {
  const hub = await open(source, options)
  try {
    await hub.ready(options.signal)
    return hub
  } catch (error) {
    await hub.close('gave up')
    throw error
  }
}

/** As `connect`, but does not wait: the hub comes back as `connecting`, and everything on it may be used at once. */
export async function open(source?: string | Credential, options: HubOptions = {}): Promise<Hub> {
  const { signal } = options
  signal?.throwIfAborted()
  const credential = await credentialOf(source)
  for (const url of credential.urls) checkHubUrl(url)
  const hub = new Hub(credential, options, dial)
  const giveUp = () => {
    if (hub.state === 'connecting') void hub.close('gave up')
  }
  signal?.addEventListener('abort', giveUp, { once: true })
  hub.start()
  return hub
}

async function credentialOf(source: string | Credential | undefined): Promise<Credential> {
  if (typeof source === 'object') return source
  const from = source ?? readEnvironment()
  if (from === undefined)
    throw damonError('bad_credential', 'None was given, and neither DAMON_JOIN nor DAMON_CONNECTION_FILE is set.')
  return isText(from) ? parseCredential(from) : parseCredential(await readFile(from), from)
}

/** Whether it is a credential itself, rather than the path of one. */
function isText(source: string): boolean {
  const text = source.trimStart()
  return text.startsWith('damon1.') || text.startsWith('{')
}
