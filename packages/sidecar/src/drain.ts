import type { Logger } from '@damon/runtime/logger'
import type { AudioNode } from './audio-node.ts'
import type { Clock } from './clock.ts'

/** What became of the wish at one bot, or at nobody: `no_handler`, `disconnected` and the like count as an answer too. */
export interface BotVerdict {
  client: string
  verdict: string
  value?: unknown
}

/** The bots that use a node. */
export interface Bots {
  /**
   * Asks all of them to move their players off the node and yields each verdict as it comes. MUST end by `deadlineMs` or
   * when `signal` aborts; MAY reject with why nobody could be asked.
   */
  leave(node: string, deadlineMs: number, signal: AbortSignal): AsyncIterable<BotVerdict>
}

/** How a node is drained, all times in ms; `hurry` ends the waiting at once. */
export interface DrainOptions {
  id: string
  deadlineMs: number
  quickMs: number
  /** How many looks in a row must show nothing that plays. */
  quietLooks: number
  /** How long a bot may be away and resume its session: until then its players play unseen. */
  resumeMs: number
  /** What the record says while it drains, in words. */
  because: string
  /** The reason with which the record goes. */
  reason: string
  clock: Clock
  hurry: AbortSignal
  log: Logger
}

/**
 * Takes a node out of use without cutting music off: cordons it, asks the bots to move their players, waits until none plays
 * or the deadline has come, and drops its records. Never rejects.
 */
export async function drain(node: AudioNode, bots: Bots, options: DrainOptions): Promise<void> {
  const { id, deadlineMs, reason, clock, log, hurry } = options
  if (!node.verified) return node.retire(reason)
  const startedAt = clock.now()
  const done = new AbortController()
  const deadline = new AbortController()
  const over = AbortSignal.any([hurry, deadline.signal])
  clock.sleep(deadlineMs, done.signal).then(
    () => deadline.abort('the deadline of the drain has come'),
    () => {},
  )
  node.cordon(options.because)
  log.info({ node: id, deadlineMs, reason }, 'draining')
  try {
    await ask(bots, options, over)
    await quiet(node, options, over)
    log.info({ node: id, ms: Math.round(clock.now() - startedAt) }, 'drained')
  } catch (error) {
    if (!over.aborted) log.error({ err: error }, 'the drain failed')
    else if (node.well?.load.playingPlayers === 0)
      log.info({ node: id, why: String(over.reason) }, 'nothing plays, but a bot that is away could have resumed')
    else log.warn({ node: id, why: String(over.reason) }, 'not drained: players may be cut off')
  } finally {
    done.abort()
  }
  await node.retire(reason)
}

async function ask(bots: Bots, { id, deadlineMs, log }: DrainOptions, over: AbortSignal): Promise<void> {
  over.throwIfAborted()
  try {
    let asked = 0
    for await (const { client, verdict, value } of bots.leave(id, deadlineMs, over)) {
      asked++
      log.info({ bot: client, verdict, value }, 'a bot was asked to move its players')
    }
    if (asked === 0) log.info('no bot to ask')
  } catch (error) {
    over.throwIfAborted()
    log.warn({ err: error }, 'the bots could not be asked to move their players')
  }
}

/** A Lavalink that does not answer plays nothing that could be waited for. */
async function quiet(node: AudioNode, options: DrainOptions, over: AbortSignal): Promise<void> {
  const { clock, quickMs, quietLooks, resumeMs } = options
  for (let looks = 0; ; ) {
    const look = await node.look(over)
    looks = look.kind !== 'well' || look.load.playingPlayers === 0 ? looks + 1 : 0
    if (looks >= quietLooks && (look.kind !== 'well' || node.emptyFor > resumeMs)) return
    await clock.sleep(quickMs, over)
  }
}
