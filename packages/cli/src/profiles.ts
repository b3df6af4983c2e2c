/** A ready-made set of capabilities for `token mint --profile`. */
export interface Profile {
  /** For the help text. */
  about: string
  can: readonly string[]
}

/** What each kind of service needs, and no more; `--can` adds to it. */
export const profiles = {
  bot: {
    about: 'plays music: reads audio nodes with their passwords, talks to bots and sidecars',
    can: [
      'join:bots',
      'send:group/bots',
      'ask:group/bots',
      'send:client/bot/*',
      'ask:client/bot/*',
      'ask:group/sidecars:node.*',
      'ask:client/sidecar/*:node.*',
      'send:client/sidecar/*:node.*',
      'get:node/*',
      'get:node-secret/*',
      'get:service/*',
    ],
  },
  sidecar: {
    about: 'announces an audio node and its password, asks bots to leave it, agrees with the fleet on who retires',
    can: [
      'join:sidecars',
      'put:node/*',
      'put:node-secret/*',
      'get:node/*',
      'get:service/sidecar/*',
      'get:fleet/drain',
      'put:fleet/drain',
      'ask:group/bots:node.*',
      'send:group/bots:node.*',
      'ask:client/bot/*:node.*',
    ],
  },
  certs: {
    about: 'renews certificates and seals them to their readers',
    can: ['join:certs', 'issue:*', 'get:cert-reader/*', 'put:cert/*', 'get:cert/*'],
  },
  'cert-agent': {
    about: 'puts certificates on disk; add the ids it may have, for example --can cert:edge',
    can: ['join:cert-agents'],
  },
  hub: {
    about: 'the hub itself, to receive its own certificate from certs',
    can: ['cert:hub'],
  },
  operator: {
    about: 'a person: reads all but the passwords of audio nodes, sends and asks everywhere',
    can: [
      'get:node/*',
      'get:service/*',
      'get:fleet/*',
      'get:cert-reader/*',
      'get:cert/*',
      'send:all',
      'ask:all',
      'send:group/*',
      'ask:group/*',
      'send:client/*',
      'ask:client/*',
    ],
  },
} as const satisfies Record<string, Profile>
export type ProfileName = keyof typeof profiles

/** The names of the profiles. */
export const profileNames = Object.keys(profiles) as ProfileName[]
