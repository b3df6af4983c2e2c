// Where the parts of a `damon.v1` frame lie that are read or written without the rest of it, bytes from its beginning: docs/protocol.md has the whole.

/** The flags that a client's frame and what the hub makes of it have in the same places. */
export const flag = { again: 1, any: 2, bytes: 4 } as const

/** What all frames of the hub with a position begin with; `requestAt` and what follows it are of a verdict or a part. */
export const positioned = {
  flagsAt: 1,
  originAt: 2,
  seqAt: 6,
  numberAt: 12,
  requestAt: 16,
  verdictAt: 28,
  leastBytes: 31,
  /** Whose word it is: the sender of a message, the receiver that said a verdict or a part. */
  sessionAt: { message: 16, verdict: 20 },
} as const

/** Of a client's `send`: the lengths of two names, the names, the payload. */
export const sendLayout = { flagsAt: 1, numberAt: 2, lengthsAt: 6, namesAt: 8 } as const

/** Of a client's `reply`; its code, where it has one, stands ahead of the payload. */
export const replyLayout = {
  flagsAt: 1,
  numberAt: 2,
  verdictAt: 6,
  codeAt: 7,
  sessionAt: 8,
  requestAt: 16,
  payloadAt: 20,
} as const
