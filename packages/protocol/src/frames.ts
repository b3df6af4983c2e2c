import * as z from 'zod/mini'
import { limits } from './limits.ts'
import { isKey, isPrefix, isSegment, isSession } from './names.ts'

/** WebSocket sub-protocols, one codec each. */
export const subprotocols = { binary: 'damon.v1', json: 'damon.v1.json' } as const
export type Codec = keyof typeof subprotocols

/** Final words on one receiver of a request; the order is their number on the wire. */
export const verdicts = [
  'answered',
  'failed',
  'no_handler',
  'denied',
  'overloaded',
  'draining',
  'disconnected',
  'timed_out',
  'not_needed',
  'unknown',
] as const
export type Verdict = (typeof verdicts)[number]

/** What a receiver itself may say; the hub says the rest. */
export const replyVerdicts = ['answered', 'failed', 'no_handler', 'denied', 'overloaded', 'draining'] as const
export type ReplyVerdict = (typeof replyVerdicts)[number]

const u32 = z.int().check(z.nonnegative(), z.maximum(0xffffffff))
const u48 = z.int().check(z.nonnegative(), z.maximum(2 ** 48 - 1))
const text = (max: number) => z.string().check(z.maxLength(max))
const id = u32
const key = z.string().check(z.refine(isKey, 'is no key: 1 to 8 segments of [a-z0-9._-]{1,64} joined by /'))
const prefix = z.string().check(z.refine(isPrefix, 'is no prefix: empty, a key, or a key and /'))
const group = z.string().check(z.refine(isSegment, 'is no group: [a-z0-9._-]{1,64}'))
const session = z.string().check(z.refine(isSession, 'is no session: 16 hex digits'))
const revision = u48

/** Where a reader of an origin's frames stands: the last number it has, per destination. */
const position = z.object({ origin: u32, to: text(255), seq: u48 })
export type Position = z.infer<typeof position>

/** A place in an origin's log. */
const logPosition = z.object({ origin: u32, seq: u48 })
export type LogPosition = z.infer<typeof logPosition>

/** Why a session does not go on, in the `reason` of a welcome. */
export const notResumed = ['unknown_session', 'store_emptied', 'sends_unproved', 'busy'] as const
export type NotResumed = (typeof notResumed)[number]

/** Control frames of a client: their fields, beside `type` and an opaque payload where one is noted. */
export const clientControl = {
  /** First frame, within 5 s and 16 KiB. `resume` asks to go on with an earlier session. */
  hello: z.object({
    token: text(2048),
    proof: z.optional(text(2048)),
    version: z.optional(text(64)),
    groups: z.optional(z.array(group).check(z.maxLength(limits.groups))),
    resume: z.optional(
      z.object({
        session,
        ticket: text(64),
        epoch: text(64),
        positions: z.array(position).check(z.maxLength(limits.positions)),
        /** Of the last welcome or ack, whichever came later: what it sent and was not told of is behind that, or nowhere. */
        ack: logPosition,
        /** Its own numbered frames up to this are settled. */
        done: u32,
        /** The last number that it gave. */
        sent: u32,
      }),
    ),
  }),
  /** A new token on a live session, for the same subject and key. */
  auth: z.object({ id, token: text(2048) }),
  join: z.object({ id, group }),
  leave: z.object({ id, group }),
  /** Withdraws a request: what is still open becomes `not_needed`. */
  cancel: z.object({ request: u32 }),
  /** Payload: the value. `lease`: it lives while its owner's session does. `expect`: compare and set; 0 = must not exist. */
  put: z.object({
    id,
    key,
    lease: z.optional(z.boolean()),
    expect: z.optional(revision),
    /** The generation this writer last owned: refused when another has owned the record since. */
    generation: z.optional(revision),
  }),
  /** Payload: the new value of a leased record that this session owns. */
  patch: z.object({ id, key }),
  drop: z.object({ id, key, reason: z.optional(text(limits.reasonBytes)), expect: z.optional(revision) }),
  get: z.object({ id, key }),
  list: z.object({ id, prefix }),
  /**
   * `revision`: up to which the watcher has all, on this `epoch`: it gets the changes since, if the hub still knows them.
   * `resync`: it is a watch already, but what it has is not what the hub's digest says.
   */
  watch: z.object({ id, prefix, revision: z.optional(revision), resync: z.optional(z.boolean()) }),
  unwatch: z.object({ id }),
  ping: z.object({ t: z.optional(z.number()) }),
  bye: z.object({ reason: z.optional(text(limits.reasonBytes)) }),
} as const

const entry = z.object({
  key: z.string(),
  /** `put`: set or changed; `suspect`: its owner is gone, in grace; `drop`: it ended. */
  change: z.enum(['put', 'suspect', 'drop']),
  revision,
  /** The revision at which its present owner got it: a later owner's is higher. */
  generation: revision,
  leased: z.boolean(),
  /** Bytes of this entry's value in the frame's payload, which holds them one after another. */
  size: u32,
  reason: z.optional(z.string()),
})
export type RecordEntryMeta = z.infer<typeof entry>

/** Control frames of the hub. */
export const hubControl = {
  /** Right behind the upgrade. `nonce` is for the proof. */
  challenge: z.object({ nonce: z.string(), protocol: z.string(), helloMs: z.number() }),
  welcome: z.object({
    session,
    /** Names the session when resuming; alone it grants nothing. */
    ticket: z.string(),
    /** Changes when the store was emptied. */
    epoch: z.string(),
    resumed: z.boolean(),
    /** Why it was not resumed; absent when nothing was asked. */
    reason: z.optional(z.string()),
    /** Resumed, but after so long that its leased records turned suspect or ended: they have to be put again. */
    lapsed: z.optional(z.boolean()),
    subject: z.string(),
    heartbeatMs: z.number(),
    frameBytes: z.number(),
    /** The session's own numbered frames up to this are settled; the next number is one more. */
    done: u32,
    /** Those of them, above the `done` of the hello, that are not in the log: they were refused. */
    refused: z.optional(z.array(u32)),
    /** Everything that this session sends from now on is behind this in the log. */
    ack: logPosition,
    /** Where the client stands: at the beginning where it is new, else where it said, without what nobody needs any more. */
    positions: z.array(position),
  }),
  /**
   * `except`: not only this request, but all of the session up to it other than these are settled. `lost`: not all of their
   * verdicts could be given; what is missing is unknown.
   */
  settled: z.object({
    request: u32,
    tally: z.record(z.string(), z.number()),
    except: z.optional(z.array(u32)),
    lost: z.optional(z.boolean()),
  }),
  /**
   * Entries of a watch or of a list/get (`id`). A snapshot may take several frames: `more` on all but the last;
   * `reset` on the first of a snapshot that replaces what the watcher had. Payload: the values.
   */
  records: z.object({
    id,
    snapshot: z.boolean(),
    reset: z.boolean(),
    more: z.boolean(),
    revision,
    entries: z.array(entry),
  }),
  /** At most `seq` numbers `from` to `to` of this origin and destination are missing. */
  gap: z.object({ origin: u32, to: z.string(), from: u48, until: u48 }),
  /** Leave within `withinMs`, `afterMs` from now at the earliest, and connect again to one of `hubs` (or as before). */
  goaway: z.object({
    reason: z.string(),
    afterMs: z.number(),
    withinMs: z.number(),
    hubs: z.optional(z.array(z.string())),
  }),
  /** Refusal of the control frame `id`, of the send `number`, or of the connection (neither). */
  error: z.object({
    code: z.string(),
    message: z.string(),
    retry: z.boolean(),
    field: z.optional(z.string()),
    id: z.optional(id),
    number: z.optional(u32),
    retryAfterMs: z.optional(z.number()),
  }),
  /** `number`: all sends up to it are safe or were refused; `id`: that control frame is done. */
  ack: z.object({
    number: z.optional(u32),
    origin: z.optional(u32),
    seq: z.optional(u48),
    id: z.optional(id),
    revision: z.optional(revision),
    generation: z.optional(revision),
    positions: z.optional(z.array(position)),
  }),
  /** `digests`: per watch id, what its watcher must have at `revision`. */
  pong: z.object({
    t: z.optional(z.number()),
    revision: z.optional(revision),
    digests: z.optional(z.record(z.string(), z.string())),
  }),
  /**
   * To whom a request went: the answer is not needed any more of those who have not given it. It has a position on the
   * request's destination (`to`); `session` and `request` name the request as its message did.
   */
  cancel: z.object({ origin: u32, seq: u48, to: z.string(), session, request: u32 }),
} as const

const carriers = { client: ['put', 'patch'], hub: ['records'] } as const
type Carrier = (typeof carriers)[keyof typeof carriers][number]

/** Control frames that carry a payload; all others carry none. */
export const withPayload: Readonly<Record<keyof typeof carriers, ReadonlySet<string>>> = {
  client: new Set(carriers.client),
  hub: new Set(carriers.hub),
}

/** A frame with a body of fields and, for some types, an opaque payload. */
type Control<Table extends Record<string, z.ZodMiniType>> = {
  [Type in keyof Table & string]: { type: Type } & z.infer<Table[Type]> & {
      payload?: Type extends Carrier ? Uint8Array | undefined : undefined
    }
}[keyof Table & string]

export type ClientControlFrame = Control<typeof clientControl>
export type HubControlFrame = Control<typeof hubControl>

/** A message of a client. `number` counts the session's own numbered frames (send, request, reply, part) from 1. */
export interface SendFrame {
  type: 'send'
  number: number
  /** Repeated after a resume. */
  again: boolean
  /** To one member of the group only. */
  any: boolean
  /** The payload is bytes, not text. */
  bytes: boolean
  to: string
  event: string
  payload: Uint8Array
}

/**
 * A message whose answers the hub collects. `deadline` in ms; `quorum` 0 = all. `idempotent`: with `any`, another member
 * may be asked when the first is gone before it answered.
 */
export interface RequestFrame extends Omit<SendFrame, 'type'> {
  type: 'request'
  idempotent?: boolean
  deadline: number
  quorum: number
}

/** A receiver's final word on the request (`session`, `request`). */
export interface ReplyFrame {
  type: 'reply'
  number: number
  again: boolean
  bytes: boolean
  /** The requester's session. */
  session: string
  /** The requester's number of the request. */
  request: number
  verdict: ReplyVerdict
  /** Error code, empty when answered. */
  code: string
  payload: Uint8Array
}

/** A piece of an answer before the final word. */
export interface ClientPartFrame extends Omit<ReplyFrame, 'type' | 'verdict' | 'code'> {
  type: 'part'
}

/** A message or request as its receivers get it: the same bytes for all of them. */
export interface MessageFrame {
  type: 'message'
  again: boolean
  any: boolean
  bytes: boolean
  /** Repaired after later frames of other destinations were seen. */
  late: boolean
  /** Wants a reply within `deadline` ms. */
  request: boolean
  deadline: number
  origin: number
  seq: number
  /** The sender's number of it. */
  number: number
  /** The sender's session. */
  session: string
  /** The sender: `SERVICE/INSTANCE`, stamped by the hub. */
  from: string
  to: string
  event: string
  payload: Uint8Array
}

/** The hub's word on one receiver of a request of this session. */
export interface VerdictFrame {
  type: 'verdict'
  again: boolean
  bytes: boolean
  late: boolean
  origin: number
  seq: number
  /** The receiver's number of it; 0 when the hub speaks for it. */
  number: number
  request: number
  /** The receiver's session. */
  session: string
  /** The receiver: `SERVICE/INSTANCE`. */
  from: string
  verdict: Verdict
  code: string
  payload: Uint8Array
}

/** A piece of an answer, on its way to the requester. */
export interface HubPartFrame extends Omit<VerdictFrame, 'type' | 'verdict' | 'code'> {
  type: 'part'
}

export type ClientFrame = SendFrame | RequestFrame | ReplyFrame | ClientPartFrame | ClientControlFrame
export type HubFrame = MessageFrame | VerdictFrame | HubPartFrame | HubControlFrame
/** Frames of the hub that carry a position and are kept in logs. */
export type PositionedFrame = MessageFrame | VerdictFrame | HubPartFrame | Extract<HubControlFrame, { type: 'cancel' }>

/** Client frames that are numbered and acknowledged. */
export const numberedFrames = ['send', 'request', 'reply', 'part'] as const

/** Frame types by their number on the wire. Client to hub below 64, hub to client from 64. */
export const frameNumbers = {
  client: {
    send: 1,
    request: 2,
    reply: 3,
    part: 4,
    hello: 16,
    auth: 17,
    join: 18,
    leave: 19,
    cancel: 20,
    put: 21,
    patch: 22,
    drop: 23,
    get: 24,
    list: 25,
    watch: 26,
    unwatch: 27,
    ping: 29,
    bye: 30,
  },
  hub: {
    message: 64,
    verdict: 65,
    part: 66,
    challenge: 80,
    welcome: 81,
    settled: 82,
    records: 83,
    gap: 84,
    goaway: 85,
    error: 86,
    ack: 87,
    pong: 88,
    cancel: 89,
  },
} as const satisfies {
  client: Record<ClientFrame['type'], number>
  hub: Record<HubFrame['type'], number>
}
