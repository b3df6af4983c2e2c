import { isIP } from 'node:net'
import { type Config, list, secret } from '@damon/runtime/config'
import { z } from 'zod'
import { keyBytes } from './store.ts'

const address = /^(?:\[(?<six>[^\]]+)\]|(?<four>[\d.]+))(?::\d{1,5})?$/

/** What certs reads from its environment; README.md says what for. */
export const certsConfig = {
  DAMON_CONNECTION: secret().optional(),
  DAMON_JOIN: secret().optional(),
  CERTS_CONFIG_FILE: z.string(),
  CERTS_STATE_DIR: z.string(),
  CERT_STORE_KEY: secret().refine((key) => keyBytes(key.reveal()) !== undefined, 'must be 32 bytes in hex or base64'),
  DIGITALOCEAN_TOKEN: secret().optional(),
  DIGITALOCEAN_URL: z
    .url({ protocol: /^https?$/, error: 'must be an http(s) URL' })
    .default('https://api.digitalocean.com/v2'),
  CERTS_NAMESERVERS: list()
    .refine((servers) => servers.every(isAddress), 'must be IP addresses, with :port or not (IPv6 in brackets)')
    .optional(),
}

/** The configuration of certs as read. */
export type CertsConfig = Config<typeof certsConfig>

function isAddress(text: string): boolean {
  const { six, four } = address.exec(text)?.groups ?? {}
  return isIP(text) !== 0 || isIP(six ?? '') === 6 || isIP(four ?? '') === 4
}
