import type { DeliveryRules } from './delivery-rules.ts'

/** A reader as the choice of a canary sees it. */
export interface TrialReader {
  /** SERVICE/READER */
  name: string
  /** Fingerprint that it has proven to serve. */
  serves: string | undefined
  /** When the new certificate was put for it, Unix ms; undefined while it has another one. */
  deliveredAt: number | undefined
}

/** What came before, as far as a new certificate is concerned. */
export interface TrialHistory {
  /** The reader that has it for a trial. */
  trial: string | undefined
  /** The trials that failed: how many, when the last one ended (Unix ms), and with which readers. */
  failed: { count: number; at: number; readers: readonly string[] } | undefined
}

/** Who shall have which certificate now. Times are Unix ms. */
export type RolloutStep =
  | { who: 'everyone'; why: 'proven' | 'nobody can try it' | 'the one before ends soon' }
  /** The canary has the new one, all others keep the one before; `until` when it has to be proven. */
  | { who: 'canary'; reader: string; until: number | undefined }
  /** The canary did not prove it: it failed. */
  | { who: 'nobody'; failed: string; why: 'not proven in time' | 'its reader is gone' }
  /** All keep the one before until the next trial. */
  | { who: 'nobody'; until: number | undefined }

/** Pauses between a failed trial and the next, minutes; the last one is repeated. */
export const trialPauses = [10, 30, 60, 180, 360] as const

const minute = 60_000
/** Share of its life below which the certificate before is no refuge any more. */
const emergencyShare = 1 / 20

/**
 * Decides how far a new certificate goes while there is one that was proven before. A canary is a reader that has proven
 * that one, since others could not tell success from failure.
 */
export function nextStep({
  now,
  fingerprint,
  before,
  rules: { canary, servedWithin },
  readers,
  history: { trial, failed },
}: {
  now: number
  fingerprint: string
  before: { fingerprint: string; notBefore: number; notAfter: number }
  rules: DeliveryRules
  readers: readonly TrialReader[]
  history: TrialHistory
}): RolloutStep {
  if (readers.some(({ serves }) => serves === fingerprint)) return { who: 'everyone', why: 'proven' }
  if (now >= before.notAfter - (before.notAfter - before.notBefore) * emergencyShare) {
    return { who: 'everyone', why: 'the one before ends soon' }
  }
  if (trial !== undefined) {
    const reader = readers.find(({ name }) => name === trial)
    if (!reader) return { who: 'nobody', failed: trial, why: 'its reader is gone' }
    const until = reader.deliveredAt === undefined ? undefined : reader.deliveredAt + servedWithin
    if (until !== undefined && now >= until) return { who: 'nobody', failed: trial, why: 'not proven in time' }
    return { who: 'canary', reader: trial, until }
  }
  if (readers.length === 0) return { who: 'nobody', until: undefined }
  if (failed) {
    const until = failed.at + trialPauses[Math.min(failed.count, trialPauses.length) - 1]! * minute
    if (now < until) return { who: 'nobody', until }
  }
  const able = readers
    .filter(({ name, serves }) => serves === before.fingerprint && (canary === true || name.startsWith(`${canary}/`)))
    .map(({ name }) => name)
    .sort()
  const next = able.find((name) => !failed?.readers.includes(name)) ?? able[0]
  return next === undefined
    ? { who: 'everyone', why: 'nobody can try it' }
    : { who: 'canary', reader: next, until: undefined }
}
