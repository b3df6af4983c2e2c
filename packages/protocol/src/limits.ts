/**
 * Every limit of the wire: its default, its unit in the name. `docs/protocol.md` lists the same table.
 */
export const limits = {
  /** The first frame of a connection. */
  helloBytes: 4 * 1024,
  /** Time from the upgrade to a complete hello. */
  helloMs: 5_000,
  /** Any later frame, header and payload. */
  frameBytes: 256 * 1024,
  /** The value of one record. */
  recordBytes: 64 * 1024,
  /** Fragments of one WebSocket message. */
  fragments: 64,
  /** Chunks that ws keeps of one message. */
  bufferedChunks: 256,
  /** Groups of one session. */
  groups: 64,
  /** Watches of one session. */
  watches: 64,
  /** Leased and kept records that one session wrote and that still exist. */
  recordsPerSession: 1_024,
  /** Requests of one session that are not settled. */
  openRequests: 4_096,
  /** Requests delivered to one session that it has not answered. */
  unansweredRequests: 4_096,
  /** Frames of one session that wait for an earlier one of it. */
  pendingFrames: 1_024,
  /** What one session may have unsent before messages to it are dropped with a gap. */
  outboxBytes: 1024 * 1024,
  /** How long a send may wait for the store before it is refused as unavailable. */
  appendMs: 1_000,
  /** Appends that may wait for the store on one worker. */
  appendBytes: 16 * 1024 * 1024,
  /** How long a session whose line is gone counts as there. */
  awayMs: 2_000,
  /** A request's deadline, at most. */
  deadlineMs: 5 * 60_000,
  /** A request's deadline when it names none. */
  defaultDeadlineMs: 5_000,
  /** One party's silence before it must ping. */
  heartbeatMs: 15_000,
  /** Characters of an event's name. */
  eventLength: 64,
  /** Bytes of a reason or of an error's text. */
  reasonBytes: 512,
  /** Entries of one records frame. */
  recordsPerFrame: 256,
} as const

/** Silence, in heartbeats, after which a connection is dead for the side that hears nothing. */
export const silenceFactor = 1.5
