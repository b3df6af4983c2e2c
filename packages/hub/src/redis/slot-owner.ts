import { createConnection } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis'

interface Address {
  host: string
  port: number
}

/** How long one node may take to say who owns the slot, ms. */
const askMs = 1_000

/**
 * Finds the node of a Redis Cluster that holds all keys of the hub: they are in one slot. Asked anew for every connection,
 * since the slot may have moved, or its node may have died and been replaced.
 */
export class SlotOwner {
  readonly #seeds: URL[]
  readonly #key: string
  /** Nodes that were there when one was asked last. */
  #nodes: Address[] = []
  /** Where a node has just sent us. */
  #hint: Address | undefined

  /** `seeds`: URLs of some nodes, the first also with user, password and protocol of all. `key`: any key of the hub. */
  constructor(seeds: string[], key: string) {
    this.#seeds = seeds.map((seed) => new URL(seed))
    this.#key = key
  }

  /** Settings of connections that lead to the owner. */
  get options(): Pick<RedisOptions, 'tls' | 'username' | 'password' | 'Connector'> {
    const { protocol, username, password } = this.#first
    return {
      ...(protocol === 'rediss:' && { tls: {} }),
      ...(username && { username: decodeURIComponent(username) }),
      ...(password && { password: decodeURIComponent(password) }),
      Connector: this.#connector(),
    }
  }

  /** Whether this error says that the slot is elsewhere; then the next connection goes there. */
  moved(error: string): boolean {
    const [, host, port] = /^MOVED \d+ (\S*):(\d+)$/.exec(error) ?? []
    if (port === undefined) return false
    if (host) this.#hint = { host, port: Number(port) }
    return true
  }

  get #first(): URL {
    return this.#seeds[0] as URL
  }

  get #isSecure(): boolean {
    return this.#first.protocol === 'rediss:'
  }

  #connector(): NonNullable<RedisOptions['Connector']> {
    const owner = this
    return class extends AbstractConnector {
      constructor(options: unknown) {
        super((options as { disconnectTimeout: number }).disconnectTimeout)
      }
      async connect() {
        this.connecting = true
        const address = await owner.#find()
        if (!this.connecting) throw new Error('The connection was closed.')
        this.stream = owner.#isSecure ? connectTls({ ...address, servername: address.host }) : createConnection(address)
        this.stream.once('error', (error) => {
          this.firstError = error
        })
        return this.stream
      }
    }
  }

  /** The owner; where nobody knows it, some node: it will send us on, or the connection fails and is tried again. */
  async #find(): Promise<Address> {
    const hint = this.#hint
    this.#hint = undefined
    if (hint) return hint
    const seeds = this.#seeds.map(({ hostname, port }) => ({ host: hostname, port: Number(port || 6379) }))
    const nodes = [...this.#nodes, ...seeds]
    const start = Math.floor(Math.random() * nodes.length)
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[(start + i) % nodes.length] as Address
      const owner = await this.#ask(node).catch(() => undefined)
      if (owner) return owner
    }
    return nodes[start] as Address
  }

  async #ask(node: Address): Promise<Address | undefined> {
    const { Connector, ...options } = this.options
    const redis = new Redis({
      ...options,
      ...node,
      lazyConnect: true,
      connectTimeout: askMs,
      commandTimeout: askMs,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    })
    redis.on('error', () => undefined)
    try {
      await redis.connect()
      const slot = Number(await redis.cluster('KEYSLOT', this.#key))
      const ranges = await redis.cluster('SLOTS')
      // A node that does not know its own name is where we asked.
      const address = ([host, port]: [host: string | null, port: number, ...rest: unknown[]]) => ({
        host: host || node.host,
        port,
      })
      this.#nodes = ranges.flatMap(([, , ...servers]) => servers.map(address))
      const range = ranges.find(([first, last]) => first <= slot && slot <= last)
      return range?.[2] && address(range[2])
    } finally {
      redis.disconnect()
    }
  }
}
