import { Hub } from '@damon/client/hub'
import type { Dial } from '@damon/client/transport'
import type { Watch } from '@damon/client/watch'
import { destinationOf, Ledger, outcomeOf, ownInbox, type Sent } from '@damon/testkit/ledger'
import { Questions } from '@damon/testkit/questions'
import type { Random } from '@damon/testkit/random'
import { generateKey } from '@damon/trust/keys'
import { mintToken } from '@damon/trust/token'

/** One client of the simulation. */
export interface Member {
  readonly name: string
  readonly hub: Hub
  readonly ledger: Ledger
  /** Its sessions that went on, and that began anew. */
  resumed: number
  begun: number
  /** What came after a later message of the same sender to another destination, and did not say so. */
  across: { what: string; sent: Sent | undefined; any: boolean }[]
}

const event = 'note'
const question = 'ask'
const questionMs = 3_000
const pasture = 'pasture'

/** Real clients that talk to each other over simulated lines, and keep books about it. */
export class Crew {
  readonly members: readonly Member[]
  readonly groups: ReadonlyMap<string, readonly string[]>
  /** The requests of all. */
  readonly questions = new Questions()
  readonly #random: Random
  readonly #any: number
  readonly #watches: Watch[] = []

  constructor(options: { clients: number; groups: number; any: number; random: Random; dial: Dial }) {
    const { clients, groups, random, dial } = options
    this.#random = random
    this.#any = options.any
    const memberships = new Map<string, string[]>()
    this.groups = memberships
    this.members = Array.from({ length: clients }, (_, index) => {
      const name = `c${index}`
      const own = [...new Set([index % groups, Math.floor(index / 2) % groups])].map((group) => `g${group}`)
      for (const group of own) memberships.set(group, [...(memberships.get(group) ?? []), name])
      return joinCrew(name, own, dial)
    })
  }

  /** Everybody connects and announces a record; some watch them all. */
  start(watchers: number): void {
    for (const { hub, name } of this.members) {
      hub.start()
      hub.handle(question, (id) => {
        this.questions.run(id as string, name)
        return name
      })
      hub.announce(`thing/${name}`, { name })
    }
    for (const { hub } of this.members.slice(0, watchers)) this.#watches.push(hub.watch('thing/'))
  }

  /** One request of somebody to a group, or to any member of it. */
  ask(): void {
    const { hub, name } = this.#random.pick(this.members)
    const id = this.questions.ask(name, performance.now())
    const group = this.#random.pick([...this.groups.keys()])
    const receiver = this.#random.next() < 0.3 ? hub.any(group) : hub.group(group)
    receiver.request(question, id, { deadline: questionMs }).then(
      (answers) => {
        const answered = answers.filter(({ verdict }) => verdict === 'answered')
        this.questions.settle(
          id,
          answered.map(({ client }) => client),
        )
      },
      () => this.questions.settle(id, []),
    )
  }

  /** Somebody leaves a group that nobody needs, or joins it. */
  async roam(): Promise<void> {
    const { hub } = this.#random.pick(this.members)
    const coming = this.#random.next() < 0.5
    await (coming ? hub.join(pasture) : hub.leave(pasture)).catch(() => undefined)
  }

  /** What is wrong with requests and records when all is quiet. */
  get wrongs(): string[] {
    const records = this.#watches.flatMap((watch, index) =>
      this.members.flatMap(({ name }) => {
        const state = watch.entries.get(`thing/${name}`)?.state ?? 'missing'
        return state === 'live' ? [] : [`thing/${name} is ${state} in the watch of c${index}`]
      }),
    )
    return [...records, ...this.questions.wrongs(performance.now(), questionMs)]
  }

  /** One message of somebody to somebody, or to a group. */
  speak(): void {
    const { hub, ledger } = this.#random.pick(this.members)
    const isAny = this.#random.next() < this.#any
    const dice = this.#random.next()
    const group = this.#random.pick([...this.groups.keys()])
    const other = this.#random.pick(this.members).name
    if (isAny) send(ledger, `group/${group}`, true, (bytes) => hub.any(group).send(event, bytes))
    else if (dice < 0.6) send(ledger, `group/${group}`, false, (bytes) => hub.group(group).send(event, bytes))
    else if (dice < 0.97)
      send(ledger, `client/bot/${other}`, false, (bytes) => hub.client('bot', other).send(event, bytes))
    else send(ledger, 'all', false, (bytes) => hub.all().send(event, bytes))
  }

  /** Whether anything is still on its way, as its sender sees it. */
  get open(): number {
    let open = 0
    for (const { ledger } of this.members)
      for (const list of ledger.sent.values()) for (const { outcome } of list) if (outcome === 'open') open++
    return open
  }

  /** Names of those who have to receive what goes there. */
  readonly audience = (destination: string): readonly string[] => {
    const address = destination.replace(/^any /, '')
    if (address === 'all') return this.members.map(({ name }) => name)
    const [kind, ...rest] = address.split('/')
    return kind === 'group' ? (this.groups.get(rest[0] ?? '') ?? []) : [rest[1] ?? '']
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map(({ hub }) => hub.close()))
  }
}

/** The messages of all, in the order in which they were sent. */
const all: Sent[] = []

function send(ledger: Ledger, address: string, any: boolean, act: (bytes: Uint8Array) => Promise<void>): void {
  const entry = ledger.send(destinationOf(address, any), performance.now())
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, entry.n)
  view.setUint32(4, all.push(entry) - 1)
  act(bytes).then(
    () => {
      entry.outcome = 'safe'
    },
    (error: unknown) => {
      entry.outcome = outcomeOf(error)
    },
  )
}

function joinCrew(name: string, groups: readonly string[], dial: Dial): Member {
  const ledger = new Ledger(name)
  const member = { name, ledger, resumed: 0, begun: 0, across: [] as Member['across'] }
  const latest = new Map<string, number>()
  let downSince: number | undefined = performance.now()
  const hub = new Hub(
    {
      damon: 1,
      urls: ['wss://hub.test'],
      aud: 'simulation',
      root: {} as never,
      trust: '',
      token: tokens.get(name) ?? '',
    },
    {
      groups,
      timeoutMs: 60_000,
      backoff: { baseMs: 50, maxMs: 500 },
      onState: ({ state, resumed }) => {
        const now = performance.now()
        if (state !== 'connected') {
          downSince ??= now
          return
        }
        if (resumed) member.resumed++
        else {
          member.begun++
          ledger.resets.push({ from: downSince ?? now, until: now })
        }
        downSince = undefined
      },
    },
    dial,
  )
  hub.receive(event, (value, { from, to, any, late }) => {
    const { byteOffset, byteLength, buffer } = value as Uint8Array
    const view = new DataView(buffer, byteOffset, byteLength)
    const [n, count] = [view.getUint32(0), view.getUint32(4)]
    const before = latest.get(from) ?? 0
    if (count < before && !late)
      member.across.push({ what: `${from} ${count} at ${name} came after ${before}`, sent: all[count], any })
    latest.set(from, Math.max(before, count))
    ledger.receive(from.replace('bot/', ''), destinationOf(to, any), n, performance.now(), late)
  })
  hub.on('gap', ({ to, from, until }) => {
    // That a session was lost is in the ledger already.
    if (from === undefined || until === undefined) return
    const destination = to.startsWith('session/') ? ownInbox : to
    ledger.gaps.push({ destination, count: until - from + 1, at: performance.now() })
  })
  hub.on('error', () => undefined)
  return Object.assign(member, { hub })
}

const { privateKey } = await generateKey()
const tokens = new Map<string, string>()

/** Mints the tokens of so many clients; it cannot be done while time stands still. */
export async function mintTokens(clients: number): Promise<void> {
  for (let index = tokens.size; index < clients; index++) {
    const name = `c${index}`
    const claims = { aud: 'simulation', sub: `bot/${name}`, can: ['send:*'], iat: 0, exp: 3_600, jti: name }
    tokens.set(name, await mintToken({ kid: 'simulation', key: privateKey }, claims))
  }
}
