import type { Redis } from 'ioredis'
import { connectTo, isCluster, type Place } from './client.ts'

/** Channels of one SUBSCRIBE when all are subscribed anew. */
const perCommand = 512

/** The connection on which everything arrives. It subscribes again by itself, and says when that is done. */
export class RedisSubscriber {
  readonly #redis: Redis
  readonly #changed: () => void
  readonly #isSharded: boolean
  /** Each with the number of the call that wanted it last. */
  readonly #wanted = new Map<string, number>()
  #calls = 0
  /** Counts connections: what an earlier one still has to say does not concern this one. */
  #connection = 0
  #complete = false

  constructor(options: {
    place: Place
    message: (channel: string, message: Buffer) => void
    /** Called when `complete` may have changed. */
    changed: () => void
  }) {
    this.#changed = options.changed
    this.#redis = connectTo(options.place, 'damon-hub-subscriber')
    this.#isSharded = isCluster(options.place)
    const message = (name: Buffer, message: Buffer) => options.message(name.toString(), message)
    this.#redis.on(this.#isSharded ? 'smessageBuffer' : 'messageBuffer', message)
    this.#redis.on('ready', () => this.#restore())
    this.#redis.on('close', () => {
      this.#connection++
      this.#set(false)
    })
  }

  /** Whether everything subscribed arrives. */
  get complete(): boolean {
    return this.#complete
  }

  /** Rejects when Redis cannot be reached. */
  async connect(): Promise<void> {
    await this.#redis.connect()
  }

  /** Resolves when every later message will arrive. Rejects when that is not confirmed within a second. */
  async subscribe(channel: string): Promise<void> {
    const call = ++this.#calls
    this.#wanted.set(channel, call)
    try {
      await this.#subscribe(channel)
    } catch (error) {
      // Somebody else may want it by now.
      if (this.#wanted.get(channel) === call) this.unsubscribe(channel)
      throw error
    }
  }

  unsubscribe(channel: string): void {
    this.#wanted.delete(channel)
    const left = this.#isSharded ? this.#redis.sunsubscribe(channel) : this.#redis.unsubscribe(channel)
    left.catch(() => undefined)
  }

  /** Rejects unless messages would arrive now. */
  async probe(): Promise<void> {
    if (!this.#complete) throw new Error('The subscriptions are not restored yet.')
    await this.#redis.ping()
  }

  /** What arrives on the present connection is not to be trusted. */
  reconnect(): void {
    this.#redis.disconnect(true)
  }

  close(): void {
    this.#redis.disconnect()
  }

  #subscribe(...channels: string[]): Promise<unknown> {
    return this.#isSharded ? this.#redis.ssubscribe(...channels) : this.#redis.subscribe(...channels)
  }

  async #restore(): Promise<void> {
    const connection = this.#connection
    const channels = [...this.#wanted.keys()]
    try {
      for (let i = 0; i < channels.length; i += perCommand) await this.#subscribe(...channels.slice(i, i + perCommand))
      if (connection === this.#connection) this.#set(true)
    } catch {
      // Not all could be subscribed: once more, on another connection.
      if (connection === this.#connection) this.#redis.disconnect(true)
    }
  }

  #set(complete: boolean): void {
    this.#complete = complete
    this.#changed()
  }
}
