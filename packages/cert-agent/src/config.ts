import { isSegment } from '@damon/protocol/names'
import { type Config, list, milliseconds, secret } from '@damon/runtime/config'
import { z } from 'zod'
import { isOwner } from './owner.ts'
import { parseCommand } from './reload.ts'

const address = /^(?:\[(?<six>[0-9a-f:.]+)\]|(?<host>[a-z0-9.-]+)):(?<port>\d{1,5})$/i

/** What the agent reads from its environment; README.md says what for. */
export const certAgentConfig = {
  DAMON_CONNECTION_FILE: z.string().optional(),
  DAMON_JOIN: secret().optional(),
  CERTIFICATES: list().refine((ids) => ids.every(isSegment), 'must be ids of certificates, parted by commas'),
  CERT_DIR: z.string(),
  CERT_MODE: z
    .enum(['0600', '0640'], { error: 'must be 0600 or 0640' })
    .default('0600')
    .transform((text) => Number.parseInt(text, 8)),
  CERT_OWNER: z.string().refine(isOwner, 'must be user, user:group or :group, each a name or a number').optional(),
  RELOAD_COMMAND: z
    .string()
    .transform(parseCommand)
    .refine((command) => command.length > 0, 'must be words parted by blanks, or a JSON array of strings')
    .optional(),
  RELOAD_TIMEOUT_MS: milliseconds(100, 600_000).default(30_000),
  SERVED_AT: z
    .string()
    .regex(address, 'must be host:port (IPv6 in brackets)')
    .transform((text) => {
      const { six, host = '', port } = address.exec(text)?.groups ?? {}
      return { host: six ?? host, port: Number(port) }
    })
    .optional(),
}

/** The agent's configuration as read. */
export type CertAgentConfig = Config<typeof certAgentConfig>
