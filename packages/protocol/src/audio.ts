import * as z from 'zod/mini'

/** The events that sidecars and bots exchange about an audio node. */
export const nodeEvents = {
  /** A request, sidecar to `group/bots`: move your players off this node. Value `nodeDrain`, answer `nodeDrained`. */
  drain: 'node.drain',
  /** A message, bot to `client/<sidecar of the node record>`: how starts went lately. Value `nodeOutcomes`. */
  outcomes: 'node.outcomes',
  /** A request, sidecar to one of `group/bots`: can you reach this address? Value `nodeProbe`, answer `nodeProbed`. */
  probe: 'node.probe',
} as const

/** Why a track could not be loaded or played, as far as it tells something about the node. */
export const failureClasses = ['rate', 'bot', 'bind', 'gone', 'other'] as const
export type FailureClass = (typeof failureClasses)[number]

const count = z.number().check(z.int(), z.nonnegative(), z.maximum(1_000_000))

export const nodeDrain = z.object({ node: z.string() })
export const nodeDrained = z.object({ moved: count, failed: count })

/** What one bot saw on one node since its last report. */
export const nodeOutcomes = z.object({
  node: z.string(),
  /** Tracks that were to start, those that failed included. */
  starts: count,
  /** Of these, how many failed, by class. */
  failed: z.partialRecord(z.enum(failureClasses), count),
  /** What time the counts are about, ms, until now. */
  windowMs: count,
})
export type NodeOutcomes = z.infer<typeof nodeOutcomes>

export const nodeProbe = z.object({
  node: z.string(),
  address: z.object({ host: z.string(), port: z.number(), secure: z.boolean() }),
})
export type NodeProbe = z.infer<typeof nodeProbe>
/** `reason` in words where it was not reached. */
export const nodeProbed = z.object({ reached: z.boolean(), reason: z.optional(z.string()) })
export type NodeProbed = z.infer<typeof nodeProbed>

/**
 * Words by which each class shows in exceptions, stack traces and log lines of Lavalink 4, lavaplayer and the YouTube plugin.
 * The first that matches counts: a trace holds what went wrong below, too.
 */
const words: readonly [FailureClass, RegExp][] = [
  ['bind', /Cannot assign requested address|BindException/i],
  [
    'rate',
    /rate ?limit|Can't find a free ip|status code[^\n]{0,40}\b429\b|\b429\b[^\n]{0,20}Too Many|as failing because/i,
  ],
  ['bot', /not a bot|This video requires login|LOGIN_REQUIRED|Sign in to confirm/i],
  ['gone', /video (is )?(un|not )available|private video|has been removed|account .{0,40}terminated|copyright/i],
]

/** The class of a failure by its text: message, cause and `causeStackTrace` of an exception, or a log line. */
export function failureClass(text: string): FailureClass {
  return words.find(([, pattern]) => pattern.test(text))?.[0] ?? 'other'
}
