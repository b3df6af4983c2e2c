import { damonError } from '@damon/protocol/errors'
import { isAddress, isEvent, isKey, isPrefix, isSegment } from '@damon/protocol/names'

const verbs = ['join', 'send', 'ask', 'get', 'put', 'cert', 'issue'] as const

/** What a capability allows its holder to do; unknown verbs grant nothing. */
export type Verb = (typeof verbs)[number]

/** Decisions that one session remembers; subjects come from the wire, so they cannot be kept without bound. */
const rememberedDecisions = 512

/** A text, or with `open` everything that goes on behind it: `node/*` is `{ stem: 'node/', open: true }`. */
interface Pattern {
  stem: string
  open: boolean
}

interface Capability {
  verb: Verb
  subject: Pattern
  /** Absent: every event, and what has none. */
  event: Pattern | undefined
}

/** What the holder of a token may do: decided once for each question, then one `Map` lookup. Denies by default. */
export class Rights {
  readonly #capabilities: readonly Capability[]
  readonly #decisions = new Map<string, boolean>()
  readonly #canonical: string

  constructor(capabilities: readonly Capability[]) {
    this.#capabilities = capabilities
    this.#canonical = [...new Set(capabilities.map(format))].sort().join(' ')
  }

  /**
   * Whether `verb` is allowed on a subject: a group for `join`, an address for `send` and `ask`, a key for `get` and
   * `put`, a certificate's id for `cert` and `issue`. Without `event` only a capability for every event counts.
   */
  may(verb: Verb, subject: string, event?: string): boolean {
    // Names hold no colon, so no two questions share a key unless both are refused anyway.
    const question = `${verb}:${subject}:${event ?? '*'}`
    const known = this.#decisions.get(question)
    if (known !== undefined) return known
    const decision =
      isSubject(verb, subject) && (event === undefined || isEvent(event)) && this.#decide(verb, subject, event)
    if (this.#decisions.size >= rememberedDecisions) this.#decisions.clear()
    this.#decisions.set(question, decision)
    return decision
  }

  /** Whether one `get` pattern covers every key under a prefix: empty (all keys), `node/`, or one whole key. */
  watches(prefix: string): boolean {
    if (!isPrefix(prefix)) return false
    const wanted = { stem: prefix, open: prefix === '' || prefix.endsWith('/') }
    return this.#capabilities.some(({ verb, subject }) => verb === 'get' && covers(subject, wanted))
  }

  /** Whether both grant the same, whatever the order or repetition of their capabilities. */
  equals(other: Rights): boolean {
    return this.#canonical === other.#canonical
  }

  #decide(verb: Verb, subject: string, event: string | undefined): boolean {
    const wanted = { verb, subject: exactly(subject), event: event === undefined ? undefined : exactly(event) }
    return this.#capabilities.some((granted) => grants(granted, wanted))
  }
}

/**
 * Reads a token's capabilities. `sub` is the token's subject: `cert:ID` implies `put:cert-reader/SERVICE/*` and
 * `get:cert/SERVICE/*` for its service. Throws `bad_token` on a malformed capability; an unknown verb grants nothing.
 */
export function parseCapabilities(can: readonly string[], sub: string): Rights {
  const capabilities = can.flatMap((text) => parseCapability(text) ?? [])
  if (capabilities.some(({ verb }) => verb === 'cert')) {
    const service = sub.split('/')[0]
    capabilities.push({ verb: 'put', subject: { stem: `cert-reader/${service}/`, open: true }, event: undefined })
    capabilities.push({ verb: 'get', subject: { stem: `cert/${service}/`, open: true }, event: undefined })
  }
  return new Rights(capabilities)
}

/** The first capability that an issuer's ceiling does not cover; a lone `*` in the ceiling covers all. Throws `bad_token`. */
export function beyondCeiling(can: readonly string[], ceiling: readonly string[]): string | undefined {
  const wanted = can.map((text) => ({ text, capability: parseCapability(text) }))
  if (ceiling.includes('*')) return undefined
  const allowed = ceiling.flatMap((text) => parseCapability(text) ?? [])
  return wanted.find(({ capability }) => capability && !allowed.some((granted) => grants(granted, capability)))?.text
}

/** The first capability that only a token bound to a key may hold: `cert`, `issue`, or one that reaches a secret. Throws `bad_token`. */
export function boundOnly(can: readonly string[]): string | undefined {
  return can.find((text) => {
    const capability = parseCapability(text)
    if (!capability) return false
    const { verb, subject } = capability
    if (verb === 'cert' || verb === 'issue') return true
    return (verb === 'get' || verb === 'put') && (subject.stem === '' || /-secret(\/|$)/.test(subject.stem))
  })
}

/** Whether a ceiling's pattern of subjects, `sidecar/*` or `*`, covers a subject. */
export function coversSubject(pattern: string, sub: string): boolean {
  const parsed = parsePattern(pattern, '/', isKey)
  return parsed !== undefined && covers(parsed, exactly(sub))
}

/** Whether a text is a pattern of keys or subjects: a key, `*`, or a key whose last segment is `*`. */
export function isPattern(text: string): boolean {
  return parsePattern(text, '/', isKey) !== undefined
}

/** Undefined for an unknown verb. Throws `bad_token`, which quotes the capability: it is not a secret. */
function parseCapability(text: string): Capability | undefined {
  const [, verb, rest] = /^([a-z]{1,16}):(.+)$/s.exec(text) ?? []
  if (verb === undefined || rest === undefined) throw malformed(text)
  if (!isVerb(verb)) return undefined
  const [target = '', ...events] = verb === 'send' || verb === 'ask' ? rest.split(':') : [rest]
  const subject = parsePattern(target, '/', isKey)
  if (!subject || !isSubjectPattern(verb, subject) || events.length > 1) throw malformed(text)
  if (events[0] === undefined) return { verb, subject, event: undefined }
  const event = parsePattern(events[0], '.', isEvent)
  if (!event) throw malformed(text)
  return { verb, subject, event: event.open && event.stem === '' ? undefined : event }
}

function parsePattern(text: string, separator: '/' | '.', isName: (name: string) => boolean): Pattern | undefined {
  if (text === '*') return { stem: '', open: true }
  const open = text.endsWith(`${separator}*`)
  const stem = open ? text.slice(0, -1) : text
  return isName(open ? stem.slice(0, -1) : stem) ? { stem, open } : undefined
}

function isSubject(verb: Verb, subject: string): boolean {
  if (verb === 'send' || verb === 'ask') return isAddress(subject)
  return verb === 'get' || verb === 'put' ? isKey(subject) : isSegment(subject)
}

function isSubjectPattern(verb: Verb, { stem, open }: Pattern): boolean {
  if (!open) return isSubject(verb, stem)
  if (verb === 'get' || verb === 'put' || stem === '') return true
  if (verb !== 'send' && verb !== 'ask') return false
  // What may stand in place of `*` shows whether an address can match at all.
  return isAddress(`${stem}x`) || isAddress(`${stem}x/x`)
}

function isVerb(text: string): text is Verb {
  return verbs.some((verb) => verb === text)
}

function exactly(stem: string): Pattern {
  return { stem, open: false }
}

function grants(granted: Capability, wanted: Capability): boolean {
  if (granted.verb !== wanted.verb || !covers(granted.subject, wanted.subject)) return false
  return granted.event === undefined || (wanted.event !== undefined && covers(granted.event, wanted.event))
}

function covers(outer: Pattern, inner: Pattern): boolean {
  if (!outer.open) return !inner.open && inner.stem === outer.stem
  return inner.stem.startsWith(outer.stem) && (inner.open || inner.stem.length > outer.stem.length)
}

function format({ verb, subject, event }: Capability): string {
  return [verb, ...[subject, ...(event ? [event] : [])].map(({ stem, open }) => (open ? `${stem}*` : stem))].join(':')
}

function malformed(text: string): Error {
  return damonError('bad_token', `The capability "${text.slice(0, 80)}" is malformed.`, { field: 'can' })
}
