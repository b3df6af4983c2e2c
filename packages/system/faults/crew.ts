import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@damon/client/connect'
import type { Destination } from '@damon/client/destination'
import type { Hub } from '@damon/client/hub'
import type { Watch } from '@damon/client/watch'
import { type Comparison, compare } from '@damon/testkit/comparison'
import { destinationOf, Ledger, outcomeOf, ownInbox } from '@damon/testkit/ledger'
import { Questions } from '@damon/testkit/questions'
import type { Random } from '@damon/testkit/random'
import type { Credential } from '@damon/trust/credential'

/** How a crew talks. */
export interface Traffic {
  /** Messages per second, over all. */
  rate: number
  /** Of each message's value. */
  bytes: number
  /** Requests per second. */
  questions?: number
  /** Only these speak; default: all. */
  speakers?: readonly string[]
  /** Chance that a message is for everybody; default 0.004. */
  toAll?: number
}

/** One client of the crew. */
export interface Member {
  readonly name: string
  readonly groups: readonly string[]
  readonly hub: Hub
  readonly ledger: Ledger
  /** Sessions that went on, and that did not. */
  resumed: number
  begun: number
}

/** Clients of a crew, by the number of groups they are in. */
export interface CrewShape {
  clients: number
  /** Each client is in two of these, each group has as many members as comes out. */
  groups: number
}

const event = 'note'
const question = 'ask'
const questionMs = 3_000
const headBytes = 8
/** Longer than any outage of the suite: what waits for a connection shall not give up. */
const patienceMs = 45_000
const stepMs = 10

/** Clients that talk to each other and keep books about it. */
export class Crew implements AsyncDisposable {
  readonly members: readonly Member[]
  readonly questions = new Questions()
  readonly #random: Random
  readonly #byName: Map<string, Member>
  readonly #membersOf = new Map<string, string[]>()
  readonly #watches: Watch[] = []
  #talk: Promise<void> | undefined
  #stop = false
  #late = 0

  private constructor(members: readonly Member[], random: Random) {
    this.members = members
    this.#random = random
    this.#byName = new Map(members.map((member) => [member.name, member]))
    const names = members.map(({ name }) => name)
    this.#membersOf.set('all', names)
    for (const { name, groups } of members) {
      this.#membersOf.set(addressOf(name), [name])
      for (const group of groups) {
        const address = `group/${group}`
        this.#membersOf.set(address, [...(this.#membersOf.get(address) ?? []), name])
      }
    }
  }

  /** Connects them all; `credential` says how the one with this name and number does it. */
  static async connect(
    { clients, groups }: CrewShape,
    credential: (sub: string, can: string[], index: number) => Promise<Credential>,
    random: Random,
  ): Promise<Crew> {
    const can = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*']
    const members: Member[] = []
    // A few at a time, as they come in life.
    for (let begin = 0; begin < clients; begin += 50) {
      const some = Array.from({ length: Math.min(50, clients - begin) }, (_, i) => begin + i)
      members.push(
        ...(await Promise.all(
          some.map(async (index) => {
            const name = `c${String(index).padStart(4, '0')}`
            const own = [index % groups, (index + 1 + Math.floor(index / groups)) % groups].map((group) => `g${group}`)
            return connectMember(name, [...new Set(own)], await credential(`bot/${name}`, can, index))
          }),
        )),
      )
    }
    const crew = new Crew(members, random)
    for (const member of members) crew.#listen(member)
    return crew
  }

  /** Messages that were repaired after others. */
  get late(): number {
    return this.#late
  }

  /** Everybody announces a record, and some watch them all. */
  async announce(watchers: number): Promise<void> {
    await Promise.all(this.members.map(({ hub, name }) => hub.announce(`thing/${name}`, { name }).ready()))
    for (const { hub } of this.members.slice(0, watchers)) this.#watches.push(hub.watch('thing/'))
  }

  /** Everybody's record is live in every watch; else what is not. */
  recordWrongs(): string[] {
    return this.#watches.flatMap((watch, index) =>
      this.members.flatMap(({ name }) => {
        const state = watch.entries.get(`thing/${name}`)?.state ?? 'missing'
        return state === 'live' ? [] : [`thing/${name} is ${state} in the watch of ${this.members[index]?.name}`]
      }),
    )
  }

  /** Begins to talk; ends with `hush`. */
  talk(traffic: Traffic): void {
    this.#stop = false
    this.#talk = this.#run(traffic)
  }

  /** Stops talking; resolves when the fate of every message and request is told. Rejects with what is still open after that time. */
  async hush(withinMs = patienceMs + 20_000): Promise<void> {
    this.#stop = true
    await this.#talk
    const deadline = performance.now() + withinMs
    const open = () => this.members.filter(({ ledger }) => openIn(ledger)).map(({ name }) => name)
    while (open().length > 0 || this.questions.open > 0) {
      if (performance.now() > deadline)
        throw new Error(`Not settled: messages of ${open().join(', ') || 'nobody'}, ${this.questions.open} requests.`)
      await sleep(50)
    }
  }

  /** Sends so many to an address, as fast as the senders' windows allow; resolves when all have left their queue. */
  async burst(senders: readonly string[], to: string, count: number, bytes: number): Promise<void> {
    const perStep = 32
    for (let sent = 0; sent < count; ) {
      for (let i = 0; i < perStep && sent < count; i++, sent++) {
        const member = this.#byName.get(senders[sent % senders.length] ?? '')
        if (member) this.#send(member, to, false, bytes)
      }
      await sleep(1)
      while (this.members.some(({ ledger }) => openIn(ledger, 1_500))) await sleep(5)
    }
  }

  compare(): Comparison {
    return compare(
      this.members.map(({ ledger }) => ledger),
      (destination) => this.#membersOf.get(destination.replace(/^any /, '')) ?? [],
    )
  }

  questionWrongs(): string[] {
    return this.questions.wrongs(performance.now(), questionMs)
  }

  /** The longest time that each client received nothing between two moments, ms. */
  interruptions(from: number, until: number): number[] {
    return this.members.map(({ ledger }) => {
      const times = [...ledger.received.values()].flatMap((list) => list.map(({ at }) => at))
      const within = times.filter((at) => at >= from && at <= until).sort((a, b) => a - b)
      let longest = 0
      let last = from
      for (const at of [...within, until]) {
        longest = Math.max(longest, at - last)
        last = at
      }
      return longest
    })
  }

  /** A new page in every ledger. */
  turn(): void {
    this.#late = 0
    this.questions.turn()
    for (const member of this.members) {
      member.ledger.turn()
      member.resumed = 0
      member.begun = 0
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop = true
    await this.#talk
    await Promise.all(this.members.map(({ hub }) => hub.close()))
  }

  #listen({ name, hub, ledger }: Member): void {
    hub.receive(event, (value, { from, to, any, late }) => {
      const { byteOffset, byteLength, buffer } = value as Uint8Array
      const n = new DataView(buffer, byteOffset, byteLength).getUint32(0)
      if (late) this.#late++
      ledger.receive(from.replace('bot/', ''), destinationOf(to, any), n, performance.now(), late)
    })
    hub.handle(question, (id) => {
      this.questions.run(id as string, name)
      return name
    })
  }

  async #run({ rate, bytes, questions = 0, speakers, toAll = 0.004 }: Traffic): Promise<void> {
    const names = speakers ?? this.members.map(({ name }) => name)
    const began = performance.now()
    let sent = 0
    let asked = 0
    while (!this.#stop) {
      const seconds = (performance.now() - began) / 1000
      // After a stop of this very process the rate is not made up for.
      if (seconds * rate - sent > rate) sent = Math.floor(seconds * rate)
      for (; sent < seconds * rate; sent++) {
        const member = this.#byName.get(this.#random.pick(names))
        if (!member) continue
        const [address, any] = this.#destination(toAll)
        this.#send(member, address, any, bytes)
      }
      for (; asked < seconds * questions; asked++) this.#ask(this.#random.pick(this.members))
      await sleep(stepMs)
    }
  }

  /** Mostly groups, many to one client, some to one member, a few to all. */
  #destination(toAll: number): [address: string, any: boolean] {
    const dice = this.#random.next()
    const { name, groups } = this.#random.pick(this.members)
    if (dice < toAll) return ['all', false]
    if (dice < 0.5) return [addressOf(name), false]
    return [`group/${this.#random.pick(groups)}`, dice > 0.9]
  }

  #send({ hub, ledger }: Member, to: string, any: boolean, bytes: number): void {
    const entry = ledger.send(destinationOf(to, any), performance.now())
    const value = new Uint8Array(Math.max(bytes, headBytes))
    new DataView(value.buffer).setUint32(0, entry.n)
    destinationAt(hub, to, any)
      .send(event, value)
      .then(
        () => {
          entry.outcome = 'safe'
        },
        (error: unknown) => {
          entry.outcome = outcomeOf(error)
        },
      )
  }

  #ask({ hub, name, groups }: Member): void {
    const id = this.questions.ask(name, performance.now())
    const [group = ''] = groups
    hub
      .group(group)
      .request(question, id, { deadline: questionMs })
      .then(
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
}

async function connectMember(name: string, groups: readonly string[], credential: Credential): Promise<Member> {
  const ledger = new Ledger(name)
  const member = { name, groups, ledger, resumed: 0, begun: 0 }
  let downSince: number | undefined
  const hub = await connect(credential, {
    groups,
    timeoutMs: patienceMs,
    backoff: { baseMs: 100, maxMs: 1_000 },
    onState: ({ state, resumed }) => {
      const now = performance.now()
      if (state !== 'connected') {
        downSince ??= now
        return
      }
      if (resumed) member.resumed++
      else member.begun++
      if (!resumed && downSince !== undefined) ledger.resets.push({ from: downSince, until: now })
      downSince = undefined
    },
  })
  hub.on('gap', ({ to, from, until }) => {
    // Without numbers it says in other words that the session does not go on.
    if (from === undefined || until === undefined) return
    const destination = to.startsWith('session/') ? ownInbox : to
    ledger.gaps.push({ destination, count: until - from + 1, at: performance.now() })
  })
  // Its own errors are of calls that wait for a connection; what was lost shows in the ledgers.
  hub.on('error', () => undefined)
  return Object.assign(member, { hub })
}

function destinationAt(hub: Hub, to: string, any: boolean): Destination {
  const [kind, first = '', second = ''] = to.split('/')
  if (kind === 'all') return hub.all()
  if (kind === 'client') return hub.client(first, second)
  return any ? hub.any(first) : hub.group(first)
}

function addressOf(name: string): string {
  return `client/bot/${name}`
}

function openIn({ sent }: Ledger, atLeast = 1): boolean {
  let open = 0
  // The newest are the ones that may be open.
  for (const list of sent.values())
    for (let i = list.length - 1; i >= 0 && list[i]?.outcome === 'open'; i--) if (++open >= atLeast) return true
  return false
}
