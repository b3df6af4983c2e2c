import { z } from 'zod'

/** One number that decides something: its default, and why it is what it is. */
interface Threshold {
  value: number
  min: number
  max: number
  why: string
}

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

const times = (value: number, why: string): Threshold => ({ value, min: 1, max: 1_000, why })
const ms = (value: number, why: string): Threshold => ({ value, min: 0, max: 30 * day, why })
const share = (value: number, why: string): Threshold => ({ value, min: 0, max: 1, why })

/** Every number of the decision, each to be set by `THRESHOLDS`; docs/audio-nodes.md lists the same table. */
export const thresholdTable = {
  failures: times(3, 'silent or foreign looks in a row before a node is called so: one lost answer is no outage'),
  recoveries: times(2, 'good looks in a row before a lost node is back: not with every answer that gets through'),
  startingMs: ms(2 * minute, 'a JVM on a small VPS needs up to a minute'),
  quiet: times(
    2,
    'looks in a row without a playing player before a node counts as empty: one may fall between two tracks',
  ),
  canaryFailures: times(3, 'blaming results in a row: one video may be at fault, three different ones are not'),
  canaryRecoveries: times(3, 'good results in a row before it counts as well again; as many as made it suspect'),
  canaryMemoryMs: ms(hour, 'older results say nothing about now; the longest pause between two is 10 min'),
  firstCanaryMs: ms(
    minute,
    'how long a new node waits for its first good result: YouTube may be slow, a node must not wait for ever',
  ),
  neverPlayed: times(
    6,
    'blaming results in a row without one success ever: a setting is wrong, a new machine would not help',
  ),
  outcomesMs: ms(5 * minute, 'the window in which reports of bots count'),
  outcomesStarts: times(20, 'fewer starts are an anecdote'),
  outcomesFailed: share(0.5, 'of the starts: a playlist of removed videos stays below it'),
  outcomesRecovered: share(0.25, 'below it a suspect node counts as well again; half of what made it suspect'),
  logMs: ms(5 * minute, 'the window in which WARN lines count'),
  logLines: times(
    20,
    'lines in the window: a pool of addresses that works gives a few, a spent one gives one for every try',
  ),
  bindLines: times(3, 'lines in the window that tell of an address which this machine does not have'),
  plannerFailing: share(0.9, 'of a finite pool: what is left is asked by everybody and fails next'),
  plannerRecovered: share(0.75, 'below it a suspect pool counts as well again'),
  banMs: ms(
    7 * day,
    "lavaplayer's own time for a failing address; its list forgets only when the address is picked again",
  ),
  exhaustedMs: ms(15 * minute, 'suspect for so long without one success: short trouble of YouTube is over by then'),
  strainLooks: times(6, 'looks in a row, half a minute: Lavalink measures CPU every 30 s'),
  strainLoad: share(0.95, 'of the machine'),
  strainMemory: share(0.97, 'of what the JVM may reserve; it works well with 90 %'),
  strainFrames: share(0.05, 'of the frames were late: music stutters'),
  strainRelief: share(0.85, 'of those marks must be fallen below before a strained node is well again'),
  probes: times(2, 'probers in a row that did not reach the address: one may have trouble itself'),
  flapHalfLifeMs: ms(5 * minute, 'each loss of readiness counts 1, halved in this time'),
  flapSuppress: {
    value: 2.5,
    min: 1,
    max: 100,
    why: 'from this sum on, the third loss in a few minutes, a node is held suspect although it looks well',
  },
  flapReuse: { value: 1.25, min: 0.1, max: 100, why: 'until the sum fell to this' },
  flapMost: {
    value: 6,
    min: 1,
    max: 1_000,
    why: 'the sum grows no further: after two half-lives anybody gets a new chance',
  },
  drainShare: share(0.25, 'of the nodes may drain at once, and one always: the others carry their players'),
  brakeShare: share(
    0.45,
    'more nodes than this share in trouble together, then nothing is retired: YouTube or the plugin changed',
  ),
  brakeNodes: times(3, 'and at least so many: of two nodes, one is half'),
  fleetPatienceMs: ms(2 * minute, 'how long a spent node lets an emptier one go first, which may be unable to'),
} as const satisfies Record<string, Threshold>

/** The name of a threshold. */
export type ThresholdName = keyof typeof thresholdTable
/** Every threshold with its number. */
export type Thresholds = { readonly [Name in ThresholdName]: number }

/** The thresholds where nothing is set. */
export const defaultThresholds = Object.fromEntries(
  Object.entries(thresholdTable).map(([name, { value }]) => [name, value]),
) as Thresholds

/** Reads `canaryFailures=2,exhaustedMs=60000`; what is not named keeps its default. */
export const thresholdsText = z.string().transform((text, context): Thresholds => {
  const set: Partial<Record<ThresholdName, number>> = {}
  for (const part of text.split(',').filter((piece) => piece.trim() !== '')) {
    const [name = '', figure = ''] = part.split('=').map((piece) => piece.trim())
    const threshold: Threshold | undefined = Object.hasOwn(thresholdTable, name)
      ? thresholdTable[name as ThresholdName]
      : undefined
    const value = figure === '' ? Number.NaN : Number(figure)
    if (!threshold) context.addIssue({ code: 'custom', message: `has no threshold "${name.slice(0, 40)}"` })
    else if (!(value >= threshold.min && value <= threshold.max))
      context.addIssue({
        code: 'custom',
        message: `${name} must be a number from ${threshold.min} to ${threshold.max}`,
      })
    else set[name as ThresholdName] = value
  }
  return { ...defaultThresholds, ...set }
})
