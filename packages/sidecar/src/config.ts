import { type Config, flag, list, milliseconds, port, secret } from '@damon/runtime/config'
import { Secret } from '@damon/runtime/secret'
import { z } from 'zod'
import { type LavalinkSettings, readApplicationYml } from './lavalink-settings.ts'
import { hostName, isPassword, lavalinkUrl, type NodeSettings, nodeList, nodeName } from './node-settings.ts'
import { defaultThresholds, thresholdsText } from './thresholds.ts'

/** Videos that have been there since 2005, 2009 and 2012. */
const oldVideos = 'jNQXAC9IVRw,dQw4w9WgXcQ,9bZkp7q19f0'

const applicationYml = z.string().transform((text, context): { settings: LavalinkSettings; secret?: Secret } => {
  try {
    const settings = readApplicationYml(text)
    return { settings, ...(settings.password !== undefined && { secret: new Secret(settings.password) }) }
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
    return z.NEVER
  }
})

/** What the sidecar reads from its environment; README.md says what for. */
export const sidecarConfig = {
  DAMON_CONNECTION_FILE: z.string().optional(),
  DAMON_JOIN: secret().optional(),
  LAVALINK_URL: lavalinkUrl.optional(),
  LAVALINK_PASSWORD: secret()
    .refine((password) => isPassword(password.reveal()), 'has characters that an HTTP header cannot carry')
    .optional(),
  LAVALINK_CONFIG: applicationYml.optional(),
  LAVALINKS: nodeList.optional(),
  DOCKER: flag().default(false),
  DOCKER_HOST: z
    .string()
    .regex(/^(unix:\/\/\/|tcp:\/\/|http:\/\/)\S+$/, 'must be unix:///path, tcp://host:port or http://host:port')
    .optional(),
  DOCKER_PROJECT: z.string().max(128).optional(),
  DOCKER_SERVICE: z.string().max(128).default('lavalink'),
  DOCKER_STOP: flag().default(false),
  NODE_ID: nodeName.optional(),
  NODE_ADDRESS: hostName.optional(),
  NODE_ADDRESS_FROM: z.enum(['url', 'digitalocean', 'hub'], 'must be url, digitalocean or hub').default('url'),
  METADATA_URL: z.url({ protocol: /^http$/, error: 'must be an http:// URL' }).default('http://169.254.169.254'),
  NODE_PORT: port().optional(),
  NODE_SECURE: flag().optional(),
  NODE_REGION: nodeName.optional(),
  POLL_MS: milliseconds(50, 600_000).default(5_000),
  CANARY_TRACKS: list().default(oldVideos.split(',')),
  CANARY_MS: milliseconds(1_000, 86_400_000).default(450_000),
  PROBE: flag().default(true),
  THRESHOLDS: thresholdsText.default(defaultThresholds),
  RETIRE: flag().default(true),
  RETIRE_MS: milliseconds(0, 3_600_000).default(600_000),
  RESUME_MS: milliseconds(0, 86_400_000).default(60_000),
  DRAIN_MS: milliseconds(0, 3_600_000).default(6_000),
  SIDECAR_STATE_DIR: z.string().optional(),
}

/** The sidecar's configuration as read. */
export type SidecarConfig = Config<typeof sidecarConfig>

/** The configuration names no Lavalink, or not all of one. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}

/** The Lavalinks that the environment names; none where Docker is to find them. `fallbackId` names a single one without a name. */
export function configuredNodes(config: SidecarConfig, fallbackId: string): NodeSettings[] {
  const { LAVALINK_URL: url, LAVALINKS: nodes, LAVALINK_CONFIG: own } = config
  if (
    [url !== undefined, nodes !== undefined, config.DOCKER && url === undefined && nodes === undefined].filter(Boolean)
      .length !== 1
  )
    throw new SettingsError('Name the audio server by one of LAVALINK_URL, LAVALINKS_FILE or DOCKER=yes.')
  if (nodes) return nodes
  if (!url) return []
  const password = config.LAVALINK_PASSWORD ?? own?.secret
  if (!password)
    throw new SettingsError('LAVALINK_URL needs LAVALINK_PASSWORD_FILE, or LAVALINK_CONFIG_FILE with a password.')
  return [
    {
      id: config.NODE_ID ?? fallbackId,
      url,
      password,
      address: config.NODE_ADDRESS,
      port: config.NODE_PORT,
      secure: config.NODE_SECURE,
      region: config.NODE_REGION,
      pool: own?.settings.pool,
    },
  ]
}
