import type { HubControlFrame, MessageFrame, RecordEntryMeta, VerdictFrame } from '@damon/protocol/frames'

type RecordsFrame = Extract<HubControlFrame, { type: 'records' }>

/** Text as it travels: JSON. */
export function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

const sender = { again: false, bytes: false, late: false, session: '00000000000000aa', from: 'bot/two' }

/** A message as the hub sends it, with what is not as usual. */
export function message(unusual: Partial<MessageFrame>): MessageFrame {
  return {
    ...sender,
    type: 'message',
    any: false,
    request: false,
    deadline: 0,
    origin: 1,
    seq: 1,
    number: 1,
    to: 'group/bots',
    event: 'hello',
    payload: new Uint8Array(),
    ...unusual,
  }
}

/** A verdict as the hub sends it, with what is not as usual. */
export function verdict(unusual: Partial<VerdictFrame>): VerdictFrame {
  return {
    ...sender,
    type: 'verdict',
    origin: 1,
    seq: 1,
    number: 1,
    request: 1,
    verdict: 'answered',
    code: '',
    payload: new Uint8Array(),
    ...unusual,
  }
}

/** An entry of a records frame, with what is not as usual. */
export type AnEntry = { key: string; value?: Uint8Array } & Partial<RecordEntryMeta>

/** A records frame as the hub sends it: changes, unless `snapshot` is set. */
export function records(id: number, entries: AnEntry[], unusual: Partial<RecordsFrame> = {}): RecordsFrame {
  const values = entries.map(({ value = new Uint8Array() }) => value)
  return {
    type: 'records',
    id,
    snapshot: false,
    reset: false,
    more: false,
    revision: 1,
    entries: entries.map(({ value, ...entry }) => ({
      change: 'put',
      revision: 1,
      generation: 1,
      leased: true,
      size: value?.length ?? 0,
      ...entry,
    })),
    payload: new Uint8Array(values.flatMap((value) => [...value])),
    ...unusual,
  }
}
