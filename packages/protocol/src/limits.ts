/**
 * Every limit of the wire: its default, its unit in the name. `docs/protocol.md` lists the same table.
 */
export const limits = {
  /** The first frame of a connection. */
  helloBytes: 16 * 1024,
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
  /** Positions in one hello; what a resume does not name counts as never seen. */
  positions: 512,
  /** Groups of one session. */
  groups: 64,
  /** Watches of one session. */
  watches: 64,
  /** Leased and kept records that one session wrote and that still exist. */
  recordsPerSession: 1_024,
  /** Kept records that one subject wrote and that still exist. */
  keptRecords: 65_536,
  /** Changes of records that a worker remembers at least, for watchers that come back. */
  recordHistory: 16_384,
  /** Requests of one session that are not settled. */
  openRequests: 4_096,
  /** Requests of all sessions of one worker that are not settled. */
  openRequestsOfWorker: 131_072,
  /** Requests delivered to one session that it has not answered. */
  unansweredRequests: 4_096,
  /** Frames of one session that wait for an earlier one of it. */
  pendingFrames: 1_024,
  /** What one session may have unsent before messages to it are dropped with a gap. */
  outboxBytes: 1024 * 1024,
  /** The same in frames. */
  outboxFrames: 4_096,
  /** From this share of its outbox on a session is slow, until half of that is left; per cent. */
  highWaterPercent: 50,
  /** How long a slow session may keep those waiting that send to it, each time that it becomes slow. */
  stallMs: 500,
  /** Frames of one session that are taken in one turn of the event loop; the rest waits for the others' turn. */
  turnFrames: 512,
  /** The same in bytes. */
  turnBytes: 256 * 1024,
  /** Frames of one token, where its rate class says nothing else. */
  framesPerSecond: 10_000,
  /** Bytes of one token, where its rate class says nothing else. */
  bytesPerSecond: 32 * 1024 * 1024,
  /** How much of a rate may come at once. */
  burstMs: 1_000,
  /** Uninterrupted excess of a rate after which the session is told. */
  excessToldMs: 10_000,
  /** Uninterrupted excess of a rate after which the session is closed. */
  excessMs: 60_000,
  /** Connections of one address (IPv6: of one /64). */
  dialsPerSecond: 50,
  /** Connections of one address at once. */
  dialBurst: 500,
  /** Memory of a worker from which on it takes no new sessions, per cent of what it may have. */
  memoryPercent: 90,
  /** When somebody refused for want of memory shall come again. */
  retryAfterMs: 5_000,
  /** How long a send may wait for the store before it is refused as unavailable. */
  appendMs: 1_000,
  /** Appends that may wait for the store on one worker. */
  appendBytes: 16 * 1024 * 1024,
  /** What one resume takes from the logs; beyond that it is told as a gap. */
  replayBytes: 16 * 1024 * 1024,
  /** What all resumes of one worker hold of the logs at a time; who comes then waits. */
  replaysBytes: 128 * 1024 * 1024,
  /** How long a resume waits for that before it is refused as unavailable. */
  replayWaitMs: 5_000,
  /** What the log of one worker holds, for those who missed something. */
  logBytes: 64 * 1024 * 1024,
  /** What the logs of all workers hold, of a hub without Redis. */
  logsBytes: 512 * 1024 * 1024,
  /** How long a worker may take to release a session that goes on elsewhere, before it counts as dead. */
  releaseMs: 1_000,
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
