import { frameNumbers, type Verdict, verdicts } from '@damon/protocol/frames'
import { positioned } from './layout.ts'

const { originAt, seqAt, requestAt, verdictAt, leastBytes } = positioned
const sessionAt = positioned.sessionAt.verdict

/** What of a receiver's word says whether it counts. */
export interface Word {
  origin: number
  seq: number
  request: number
  /** The receiver's. */
  session: string
  /** Undefined for a part, which is not the final word. */
  verdict: Verdict | undefined
}

/** Reads that and no more of the `damon.v1` frame that begins there; undefined: it is no word on a request, or cannot be read. */
export function readWord(frame: Buffer, at: number): Word | undefined {
  const type = frame[at]
  if ((type !== frameNumbers.hub.verdict && type !== frameNumbers.hub.part) || frame.length < at + leastBytes)
    return undefined
  const verdict = type === frameNumbers.hub.verdict ? verdicts[frame[at + verdictAt] ?? 0] : undefined
  if (type === frameNumbers.hub.verdict && verdict === undefined) return undefined
  return {
    origin: frame.readUInt32BE(at + originAt),
    seq: frame.readUIntBE(at + seqAt, 6),
    request: frame.readUInt32BE(at + requestAt),
    session: frame.toString('hex', at + sessionAt, at + verdictAt),
    verdict,
  }
}
