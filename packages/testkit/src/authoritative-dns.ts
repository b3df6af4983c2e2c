import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6, type Server } from 'node:net'
import {
  type Question,
  type RecordType,
  type Reply,
  type ResourceRecord,
  readQuestion,
  writeReply,
} from './dns-message.ts'
import { onFreePorts } from './free-port.ts'

/** How one address answers: as things are, as they were when it began to lag, not at all, or with a refusal. */
export type Mode = 'fresh' | 'stale' | 'silent' | 'refusing'

/** A name server of every zone, with the loopback addresses that it answers on. */
export interface AuthoritativeServer {
  name: string
  addresses: readonly string[]
}

/** A question that was asked, as `NAME TYPE`. */
export interface Asked {
  address: string
  question: string
}

interface Endpoint {
  udp: Socket
  tcp: Server
  mode: Mode
  /** What it knew when it began to lag. */
  frozen: ReadonlyMap<string, readonly string[]>
}

/**
 * Authoritative name servers for some zones, on loopback, UDP and TCP, each address on the same port: SOA, NS, their
 * addresses, CNAME and TXT. An address can lag, disagree or be silent. It follows CNAME records as a resolver would, and
 * so also stands for one.
 */
export class AuthoritativeDns implements AsyncDisposable {
  readonly port: number
  /** Every question so far. */
  readonly asked: Asked[] = []
  readonly #zones: readonly string[]
  readonly #servers: readonly AuthoritativeServer[]
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #txt = new Map<string, string[]>()
  readonly #cnames = new Map<string, string>()

  private constructor(port: number, zones: readonly string[], servers: readonly AuthoritativeServer[]) {
    this.port = port
    this.#zones = zones
    this.#servers = servers
  }

  /** Starts them; where nothing is said one server on 127.0.0.1. */
  static start(options: {
    zones: readonly string[]
    servers?: readonly AuthoritativeServer[]
  }): Promise<AuthoritativeDns> {
    const servers = options.servers ?? [{ name: 'ns1.dns.test', addresses: ['127.0.0.1'] }]
    return onFreePorts(1, async ([port]) => {
      const dns = new AuthoritativeDns(port!, options.zones, servers)
      try {
        for (const address of servers.flatMap((server) => server.addresses)) await dns.#listen(address)
        return dns
      } catch (error) {
        await dns[Symbol.asyncDispose]()
        throw (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? new Error('address already in use') : error
      }
    })
  }

  /** The first address, with its port. */
  get address(): string {
    return this.addresses[0]!
  }

  /** Every address with its port. */
  get addresses(): readonly string[] {
    return [...this.#endpoints.keys()].map((address) => `${isIPv6(address) ? `[${address}]` : address}:${this.port}`)
  }

  /** Publishes a TXT value beside the others of the name. */
  async addTxt(name: string, value: string): Promise<void> {
    this.#txt.set(plain(name), [...this.txt(name), value])
  }

  /** Takes one TXT value away. */
  async removeTxt(name: string, value: string): Promise<void> {
    const values = [...this.txt(name)]
    const position = values.indexOf(value)
    if (position >= 0) values.splice(position, 1)
    this.#txt.set(plain(name), values)
  }

  /** What is published under a name now. */
  txt(name: string): readonly string[] {
    return this.#txt.get(plain(name)) ?? []
  }

  /** Makes a name an alias of another. */
  alias(name: string, target: string): void {
    this.#cnames.set(plain(name), plain(target))
  }

  /** From now on this address answers so; `stale` is what is published at this moment. */
  setMode(address: string, mode: Mode): void {
    const endpoint = this.#endpoints.get(address)
    if (!endpoint) throw new Error(`${address} is no address of this server`)
    endpoint.mode = mode
    endpoint.frozen = new Map(this.#txt)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { udp, tcp } of this.#endpoints.values()) {
      await new Promise<void>((resolve) => udp.close(() => resolve()))
      if (tcp.listening) await new Promise<void>((resolve) => tcp.close(() => resolve()))
    }
  }

  async #listen(address: string): Promise<void> {
    const udp = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const tcp = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      let waiting = Buffer.alloc(0)
      socket.on('data', (chunk) => {
        waiting = Buffer.concat([waiting, chunk])
        if (waiting.length < 2 || waiting.length < 2 + waiting.readUInt16BE(0)) return
        const answer = this.#answer(address, waiting.subarray(2), 'tcp')
        const length = Buffer.alloc(2)
        length.writeUInt16BE(answer?.length ?? 0)
        if (answer) socket.end(Buffer.concat([length, answer]))
      })
    })
    this.#endpoints.set(address, { udp, tcp, mode: 'fresh', frozen: new Map() })
    udp.on('message', (message, from) => {
      const answer = this.#answer(address, message, 'udp')
      if (answer) udp.send(answer, from.port, from.address)
    })
    udp.bind(this.port, address)
    await once(udp, 'listening')
    tcp.listen(this.port, address)
    await once(tcp, 'listening')
  }

  #answer(address: string, message: Buffer, transport: 'udp' | 'tcp'): Buffer | undefined {
    const question = readQuestion(message)
    const { mode, frozen } = this.#endpoints.get(address)!
    if (!question) return undefined
    this.asked.push({ address, question: `${question.name} ${question.type}` })
    if (mode === 'silent') return undefined
    const reply: Reply =
      mode === 'refusing' ? { code: 5, answers: [] } : this.#look(question, mode === 'stale' ? frozen : this.#txt)
    return writeReply(question, reply, transport)
  }

  #look({ name, type }: Question, txt: ReadonlyMap<string, readonly string[]>): Reply {
    const answers: ResourceRecord[] = []
    const seen = new Set<string>()
    let at = name
    if (type !== 'CNAME') {
      for (let next = this.#cnames.get(at); next !== undefined && !seen.has(next); next = this.#cnames.get(at)) {
        answers.push({ name: at, type: 'CNAME', data: next })
        seen.add(next)
        at = next
      }
    }
    answers.push(...this.#records(at, type, txt))
    const zone = this.#zones.find((one) => at === one || at.endsWith(`.${one}`))
    const isServer = this.#servers.some((server) => server.name === at)
    if (zone === undefined && !isServer) return { code: 5, answers }
    if (answers.length > 0) return { code: 0, answers }
    const soa: ResourceRecord = { name: zone ?? at, type: 'SOA', data: this.#servers[0]!.name }
    const exists = at === zone || isServer || this.#cnames.has(at) || (txt.get(at)?.length ?? 0) > 0
    return { code: exists ? 0 : 3, answers, authority: [soa] }
  }

  #records(name: string, type: RecordType | undefined, txt: ReadonlyMap<string, readonly string[]>): ResourceRecord[] {
    const make = (data: readonly string[], of: RecordType) => data.map((one) => ({ name, type: of, data: one }))
    const isZone = this.#zones.includes(name)
    const addresses = this.#servers.find((server) => server.name === name)?.addresses ?? []
    if (type === 'TXT') return make(txt.get(name) ?? [], 'TXT')
    if (type === 'CNAME')
      return make(
        [this.#cnames.get(name)].filter((one) => one !== undefined),
        'CNAME',
      )
    if (type === 'NS' && isZone)
      return make(
        this.#servers.map((server) => server.name),
        'NS',
      )
    if (type === 'SOA' && isZone) return make([this.#servers[0]!.name], 'SOA')
    if (type === 'A')
      return make(
        addresses.filter((one) => !isIPv6(one)),
        'A',
      )
    if (type === 'AAAA')
      return make(
        addresses.filter((one) => isIPv6(one)),
        'AAAA',
      )
    return []
  }
}

function plain(name: string): string {
  return name.replace(/\.$/, '').toLowerCase()
}
