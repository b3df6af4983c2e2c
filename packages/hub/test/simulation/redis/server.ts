import type { Duplex } from 'node:stream'
import { RedisData, type Reply } from './data.ts'
import { type Call, LuaScripts } from './lua.ts'
import { CommandReader, pushed, written } from './resp.ts'

/** A client of the server. */
class Client {
  readonly channels = new Set<string>()
  /** What it has put into its transaction, if one is open. */
  transaction: string[][] | undefined
  readonly #socket: Duplex

  constructor(socket: Duplex) {
    this.#socket = socket
  }

  answer(reply: Reply): void {
    this.#write(written(reply))
  }

  tell(items: Reply[]): void {
    this.#write(pushed(items))
  }

  #write(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.from(text, 'latin1'))
  }
}

export interface SimulatedRedisOptions {
  /** Makes another script of one before it is loaded. */
  rewrite?: (text: string) => string
  /** Is told of every command that was done, but for those about the connection itself. */
  done?: (command: string[], reply: Reply) => void
  /** Is told of everything that was published. */
  published?: (channel: string, message: string) => void
}

/** A Redis without a process: the commands and scripts of the hub, publishing, and what such a server can suffer. */
export class SimulatedRedis {
  readonly #clients = new Set<Client>()
  readonly #scripts: LuaScripts
  readonly #options: SimulatedRedisOptions
  readonly #waiting: (() => void)[] = []
  #data = emptyData()
  #standsStill = false

  constructor(options: SimulatedRedisOptions = {}) {
    this.#scripts = new LuaScripts(options.rewrite)
    this.#options = options
  }

  /** Serves a client until its line ends. */
  serve(socket: Duplex): void {
    const client = new Client(socket)
    this.#clients.add(client)
    const reader = new CommandReader((command) => {
      if (this.#standsStill) this.#waiting.push(() => this.#take(client, command))
      else this.#take(client, command)
    })
    socket.on('data', (bytes: Buffer) => reader.read(bytes))
    socket.on('close', () => this.#clients.delete(client))
  }

  /** Does nothing until it moves again; then all that came meanwhile, in its order. */
  stand(): void {
    this.#standsStill = true
  }

  move(): void {
    this.#standsStill = false
    for (const act of this.#waiting.splice(0)) act()
  }

  /** All that it holds is gone. */
  empty(): void {
    this.#data = emptyData()
  }

  /** What another server, which follows this one, has of it now. */
  copy(): RedisData {
    return this.#data.copy()
  }

  /** The other server takes its place. */
  become(data: RedisData): void {
    this.#data = data
  }

  /** Forgets what came and was not done. */
  forgetWaiting(): void {
    this.#waiting.length = 0
    this.#standsStill = false
  }

  /** Does a command that comes from nowhere. */
  run([name = '', ...args]: string[]): Reply {
    return this.#run(name, args)
  }

  #take(client: Client, [name = '', ...args]: string[]): void {
    const command = name.toUpperCase()
    if (command === 'SUBSCRIBE' || command === 'UNSUBSCRIBE') this.#subscribe(client, command, args)
    else if (command === 'HELLO') client.answer({ pairs: [['server', 'redis']] })
    else if (command === 'CLIENT' || command === 'INFO') client.answer(this.#data.run(command, args))
    else if (command === 'MULTI') {
      client.transaction = []
      client.answer({ word: 'OK' })
    } else if (command === 'EXEC') {
      const all = client.transaction ?? []
      client.transaction = undefined
      client.answer(all.map(([name = '', ...args]) => this.#run(name, args)))
    } else if (client.transaction) {
      client.transaction.push([command, ...args])
      client.answer({ word: 'QUEUED' })
    } else client.answer(this.#run(command, args))
  }

  #subscribe(client: Client, command: string, channels: string[]): void {
    for (const channel of channels) {
      if (command === 'SUBSCRIBE') client.channels.add(channel)
      else client.channels.delete(channel)
      client.tell([command.toLowerCase(), channel, client.channels.size])
    }
  }

  #run(name: string, args: string[]): Reply {
    const reply = this.#do(name, args)
    this.#options.done?.([name, ...args], reply)
    return reply
  }

  #do(name: string, args: string[]): Reply {
    if (name === 'PUBLISH') return this.#publish(args)
    if (name !== 'EVAL' && name !== 'EVALSHA') return this.#data.run(name, args)
    const [script = '', count, ...rest] = args
    if (name === 'EVALSHA' && !this.#scripts.has(script))
      return { error: 'NOSCRIPT No matching script. Please use EVAL.' }
    const sha = name === 'EVAL' ? this.#scripts.load(script) : script
    const call: Call = (name, args) => (name === 'PUBLISH' ? this.#publish(args) : this.#data.run(name, args))
    return this.#scripts.run(sha, rest.slice(0, Number(count)), rest.slice(Number(count)), call)
  }

  #publish([channel = '', message = '']: string[]): Reply {
    const subscribers = [...this.#clients].filter(({ channels }) => channels.has(channel))
    for (const client of subscribers) client.tell(['message', channel, message])
    this.#options.published?.(channel, message)
    return subscribers.length
  }
}

function emptyData(): RedisData {
  return new RedisData(() => Date.now())
}
