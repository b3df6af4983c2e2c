/** An audio node as a library shall know it. `name` was never used before in this process: libraries mix up two of one name. */
export interface NodeAccess {
  name: string
  host: string
  port: number
  secure: boolean
  password: string
}

/** A node as a library has it. */
export interface LibraryNode {
  name: string
  /** `failed`: the library has given up, or its next attempt is known to fail too. */
  state: 'connecting' | 'connected' | 'failed'
}

/** A player as a library has it; its node may be one that the library has no more. */
export interface LibraryPlayer {
  guild: string
  node: string
  /** The region of its voice server, where the library knows it. */
  region?: string | undefined
}

/** What a player is placed for. */
export interface Wish {
  guild?: string | undefined
  /** The region of the voice server, as in its endpoint: `rotterdam`. */
  region?: string | undefined
}

/** What `attachNodes` wants to hear from a library, and what it decides for it. */
export interface Guide {
  /** A node has a new session; `resumed` when its players go on as if nothing had been. */
  connected(node: string, resumed: boolean): void
  disconnected(node: string, reason: string): void
  /** A message of Lavalink, as parsed. */
  message(node: string, message: unknown): void
  /** An error that belongs to no call. */
  error(node: string, error: unknown): void
  /** Of these connected nodes those that may take a player, the best first. */
  rank(nodes: readonly string[], wish: Wish): string[]
}

/** A bot's Lavalink library. Nodes and players that somebody else put there are left alone. */
export interface LavalinkAdapter {
  /** MUST tell all nodes, whoever added them. */
  nodes(): LibraryNode[]
  /** MUST begin to connect and MUST NOT wait for it. MAY do nothing while the bot has no user: it is asked again. MAY throw. */
  add(access: NodeAccess): void
  /** MUST end the connection and every attempt to connect. MUST keep its players and their queues: they are moved later. */
  remove(name: string): void
  players(): LibraryPlayer[]
  /**
   * Moves a player with its track, position, volume, filters and pause, also off a dead node, or makes it anew where it is.
   * MUST come to an end within seconds. When it rejects, the player MUST still name its old node. Resolves for a guild without player.
   */
  move(guild: string, to: string): Promise<void>
  /** Leads the library until disposed: new players go where `rank` says, and what a node says of a player that left it is not heard. */
  attach(guide: Guide): Disposable
}

/** How long a node that a player leaves may take to say goodbye, ms; a dead one must not hold up the music. */
export const leaveMs = 500
/** How long a node that a player comes to may take, ms. */
export const enterMs = 3_000

/** Settles as the promise does, or rejects after `ms`. */
export async function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not answer within ${ms} ms.`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The guild of a message about one player; undefined for any other message. */
export function guildOf(message: unknown): string | undefined {
  if (typeof message !== 'object' || message === null) return undefined
  const { op, guildId } = message as { op?: unknown; guildId?: unknown }
  return (op === 'event' || op === 'playerUpdate') && typeof guildId === 'string' ? guildId : undefined
}

/** Makes a message one that concerns nobody: both libraries ignore what is about a guild without player. */
export function silence(message: unknown): void {
  if (typeof message === 'object' && message !== null) Object.assign(message, { guildId: '' })
}

/** The voice region of an endpoint of Discord: `rotterdam` of `rotterdam1234.discord.media:443`. */
export function regionOf(endpoint: string | null | undefined): string | undefined {
  return endpoint?.split('.')[0]?.replace(/\d+$/, '') || undefined
}

/** A host as part of a URL. */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
