/** A worker with so many sessions. */
export interface Load<W> {
  worker: W
  sessions: number
}

/** Who gives how many away, and who takes them. */
export interface Move<W> {
  part: { worker: W; count: number }[]
  take: W[]
}

/** Fullest by emptiest; below it nobody is moved. */
const goodRatio = 1.08

/** A difference that is not worth a move, in sessions. */
const fewSessions = 4

/** What brings workers to an equal share; undefined where they have it. */
export function evenOut<W>(loads: readonly Load<W>[]): Move<W> | undefined {
  const counts = loads.map(({ sessions }) => sessions)
  const most = Math.max(...counts)
  const least = Math.min(...counts)
  if (loads.length < 2 || most - least < fewSessions || most <= least * goodRatio) return undefined
  const share = Math.round(counts.reduce((sum, count) => sum + count, 0) / loads.length)
  const part = loads.flatMap(({ worker, sessions }) => (sessions > share ? [{ worker, count: sessions - share }] : []))
  const take = loads.filter(({ sessions }) => sessions < share).map(({ worker }) => worker)
  return { part, take }
}
