import type { Random } from '@damon/testkit/random'
import type { Traffic } from './crew.ts'
import type { Stage, StageShape } from './stage.ts'

/** Something that goes wrong while a crew talks. */
export interface Fault {
  name: string
  /** For the table. */
  title: string
  stage: StageShape
  traffic: Traffic
  /** What must hold beside that nothing is unexplained and nothing came twice. */
  bars?: Bars
  /** Breaks something, and puts right what nobody else does. Resolves when the world is as it was, but for the healing. */
  strike(stage: Stage, random: Random): Promise<Partial<Figures> | undefined>
}

/** Bars of one fault. */
export interface Bars {
  /** Messages whose loss may be told. */
  toldLost?: number
  /** Longest time without a message, of all but the worst hundredth of clients, ms. */
  interruptionMs?: number
  /** The fullest worker's sessions by the emptiest one's. */
  ratio?: number
}

/** What a fault measures of its own. */
export interface Figures {
  ratio: number
}
