import { isSegment } from '@damon/protocol/names'
import { type Config, flag, milliseconds, port, secret } from '@damon/runtime/config'
import { z } from 'zod'

const lavalinkUrl = z
  .string()
  .transform((text) => URL.parse(text))
  .refine((url) => url !== null && ['http:', 'https:'].includes(url.protocol), 'must be an http:// or https:// URL')
  .transform((url) => url as URL)
  .refine((url) => url.username === '' && url.password === '', 'must not hold a password: that is LAVALINK_PASSWORD')
  .refine((url) => url.search === '' && url.hash === '', 'must end with its path')

const name = z.string().refine(isSegment, 'must be 1 to 64 of a-z, 0-9, dot, dash and underscore')

/** What the sidecar reads from its environment; README.md says what for. */
export const sidecarConfig = {
  DAMON_CONNECTION_FILE: z.string().optional(),
  DAMON_JOIN: secret().optional(),
  LAVALINK_URL: lavalinkUrl,
  LAVALINK_PASSWORD: secret().refine(
    (password) => /^[\x20-\x7e]+$/.test(password.reveal()),
    'has characters that an HTTP header cannot carry',
  ),
  NODE_ID: name.optional(),
  NODE_ADDRESS: z
    .string()
    .regex(/^[\w.:-]{1,253}$/, 'must be a host name or an IP address, without port')
    .optional(),
  NODE_PORT: port().optional(),
  NODE_SECURE: flag().optional(),
  NODE_REGION: name.optional(),
  POLL_MS: milliseconds(50, 600_000).default(5_000),
  DRAIN_MS: milliseconds(0, 3_600_000).default(6_000),
}

/** The sidecar's configuration as read. */
export type SidecarConfig = Config<typeof sidecarConfig>
