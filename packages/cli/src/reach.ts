import { open } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import { damonError } from '@damon/protocol/errors'
import type { Credential } from '@damon/trust/credential'
import { CliError, type CliErrorCode } from './cli-error.ts'
import { errno } from './files.ts'

/** Connects, trying each hub of the connection once: a person is waiting. Throws a coded error that says why not. */
export async function reach(credential: Credential, signal: AbortSignal): Promise<Hub> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let left = credential.urls.length
  const hub = await open(credential, {
    name: 'damon',
    signal,
    onState(change) {
      if (change.state === 'connected') resolve()
      else if (change.state === 'closed') reject(change.error ?? damonError('closed'))
      else if (change.error && --left === 0) reject(unreachable(change.url ?? '', change.error))
    },
  })
  try {
    await promise
    return hub
  } catch (error) {
    await hub.close()
    throw error
  }
}

const advice: readonly { code: CliErrorCode; causes: RegExp; says(url: URL): string }[] = [
  {
    code: 'unknown_host',
    causes: /^(ENOTFOUND|EAI_\w+)$/,
    says: ({ hostname }) =>
      `The host name ${hostname} cannot be resolved. Check the connection file's urls, and the network.`,
  },
  {
    code: 'nobody_listens',
    causes: /^ECONNREFUSED$/,
    says: ({ href }) => `Nobody listens at ${href}. Is the hub running? \`npm start\` starts one here.`,
  },
  {
    code: 'untrusted_hub',
    causes: /^(ERR_TLS_CERT_ALTNAME_INVALID|\w*CERT\w*|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/,
    says: ({ href }) =>
      `The certificate of ${href} is not by the authority that the connection file trusts. Was it made for another hub? Mint a new one.`,
  },
  {
    code: 'not_a_hub',
    causes: /^(EPROTO|ERR_SSL_\w+|HPE_\w+)$/,
    says: ({ href }) => `What listens at ${href} speaks no TLS or is no hub. Check the port in the connection file.`,
  },
]

/** Why a hub cannot be reached, in words that say what to do next. */
export function unreachable(url: string, error: Error): Error {
  const cause = errno(error.cause) ?? ''
  const known = advice.find(({ causes }) => causes.test(cause))
  if (known) return new CliError(known.code, known.says(new URL(url)), { cause: error })
  // The hub itself said no, and why.
  if (error.cause === undefined) return error
  return new CliError('no_hub', `${url}: ${error.message}`, { cause: error })
}
