import type { Line } from './line.ts'
import type { Found } from './tally.ts'

/** To whom a message goes. */
export type Destination = { group: string } | { client: string }

/** How a server is spoken to; everything that is sent is made once and sent many times. */
export interface Dialect {
  /** Of the upgrade. */
  readonly path: string
  /** WebSocket sub-protocol. */
  readonly protocol?: string
  /** How many of a message's first bytes are the same for all messages and differ from all else. */
  readonly constantBytes: number
  /** ms between two signs of life of each client, where the protocol asks for them. */
  readonly heartbeatMs?: number
  heartbeat?(line: Line): Buffer
  /** Where messages are not frames: finds them in the stream of what frames hold. */
  parser?(line: Line): (bytes: Buffer, at: number) => Found | undefined
  /** Takes a frame: true for a message that counts; answers what must be answered; tells the line of the rest. */
  read(line: Line, payload: Buffer): boolean
  /** Says who it is and joins its groups; resolves when messages to them will come. */
  open(line: Line): Promise<void>
  /** Messages to a destination, as many as asked, in one piece; of another size than usual if `bytes` says so. */
  message(line: Line, to: Destination, bytes?: number): (count: number) => Buffer
  /** Makes ready to ask; the function asks once and resolves when that many members have replied. */
  request(line: Line, group: string, members: number): Promise<() => Promise<void>>
  /** Makes a member answer what it is asked. */
  answer(line: Line): void
}
