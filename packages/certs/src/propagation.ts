import type { Clock } from './clock.ts'
import { certsError } from './errors.ts'
import type { Nameserver, Nameservers } from './nameservers.ts'

/** One TXT value under a full name. */
export interface TxtValue {
  name: string
  value: string
}

/** How patient the check is. */
export interface PropagationTiming {
  intervalMs: number
  deadlineMs: number
  /** So often in a row every server must have agreed: behind one address there may be several machines. */
  rounds: number
}

/** The defaults: providers publish within seconds, but serve from caches for the TTL of 30 s. */
export const propagationTiming: PropagationTiming = { intervalMs: 1_000, deadlineMs: 180_000, rounds: 3 }

/**
 * Resolves when every authoritative server of the zone publishes every value, several times in a row; throws
 * `not_propagated` with what each disagreeing server said last. An address that does not answer is forgiven only while
 * another address of the same server agrees (a machine without IPv6 cannot ask over IPv6).
 */
export async function untilPublished(options: {
  nameservers: Nameservers
  zone: string
  values: readonly TxtValue[]
  clock: Clock
  timing: PropagationTiming
  signal: AbortSignal
}): Promise<void> {
  const { nameservers, zone, values, clock, timing, signal } = options
  const deadline = clock.now() + timing.deadlineMs
  let agreed = 0
  for (;;) {
    const complaints = await disagreements(nameservers, zone, values)
    signal.throwIfAborted()
    agreed = complaints.length === 0 ? agreed + 1 : 0
    if (agreed >= timing.rounds) return
    if (clock.now() >= deadline) {
      throw certsError(
        'not_propagated',
        `${zone}: ${complaints.join('; ') || 'the servers do not agree for long enough'}.`,
      )
    }
    await clock.until(clock.now() + timing.intervalMs, signal)
  }
}

async function disagreements(servers: Nameservers, zone: string, values: readonly TxtValue[]): Promise<string[]> {
  try {
    const all = await servers.of(zone)
    if (all.length === 0) return ['it has no name servers']
    return (await Promise.all(all.map((server) => complaintsOf(servers, server, values)))).flat()
  } catch (error) {
    return [`its name servers cannot be found (${(error as Error).message})`]
  }
}

async function complaintsOf(servers: Nameservers, server: Nameserver, values: readonly TxtValue[]): Promise<string[]> {
  const names = [...new Set(values.map((one) => one.name))]
  const complaints: string[] = []
  const silent: string[] = []
  for (const address of server.addresses) {
    try {
      for (const name of names) {
        const published = new Set(await servers.txt(address, name))
        const missing = values.filter((one) => one.name === name && !published.has(one.value)).length
        if (missing > 0) complaints.push(`${server.name} (${address}) lacks ${missing} of the TXT values of ${name}`)
      }
    } catch (error) {
      silent.push(`${server.name} (${address}) does not answer (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  return silent.length === server.addresses.length ? silent : complaints
}
