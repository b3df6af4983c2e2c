import { isFlawless, type Outcome, type Scenario, simulate, usual } from './run.ts'

/** Runs with the seeds from one on. */
export async function runs(count: number, unusual: Partial<Scenario> = {}): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (let seed = 1; seed <= count; seed++) outcomes.push(await simulate({ ...usual, ...unusual, seed }))
  return outcomes
}

/** The first of at most so many runs that has something wrong with it; `seed` is the one to begin with. */
export async function firstFlaw(
  most: number,
  { seed = 1, ...unusual }: Partial<Scenario>,
  isFlaw = (outcome: Outcome) => !isFlawless(outcome),
): Promise<Outcome | undefined> {
  for (let i = 0; i < most; i++) {
    const outcome = await simulate({ ...usual, ...unusual, seed: seed + i })
    if (isFlaw(outcome)) return outcome
  }
  return undefined
}

export const flawed = (outcomes: readonly Outcome[]) => outcomes.filter((outcome) => !isFlawless(outcome))

export const sum = (outcomes: readonly Outcome[], of: 'resumed' | 'toldLost' | 'begun') =>
  outcomes.reduce((total, outcome) => total + outcome[of], 0)
