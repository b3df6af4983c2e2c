import { Resolver } from 'node:dns/promises'
import { isIPv6 } from 'node:net'

/** One authoritative server of a zone. */
export interface Nameserver {
  name: string
  /** Each as `1.2.3.4`, `2001:db8::1`, or with a port `1.2.3.4:53`, `[2001:db8::1]:53`. */
  addresses: readonly string[]
}

/** Asks name servers directly, past every cache in between. */
export interface Nameservers {
  /** Every authoritative server of a zone. Rejects when they cannot be found. */
  of(zone: string): Promise<readonly Nameserver[]>
  /** The TXT values that one server publishes, none if it knows of none. Rejects when it does not answer. */
  txt(address: string, name: string): Promise<readonly string[]>
  /** Where a CNAME record of this name leads, nothing if it has none. Rejects when nobody answers. */
  cname(name: string): Promise<string | undefined>
}

const timing = { timeout: 2_000, tries: 2 }
const noData = new Set(['ENODATA', 'ENOTFOUND'])

/**
 * The servers that the zone's NS records name, or, where `fixed` lists addresses (a network with its own view of DNS),
 * those for every zone. `resolvers` are asked instead of the system's, and servers at another `port` than 53.
 */
export function nameservers({
  fixed = [],
  resolvers = [],
  port = 53,
}: {
  fixed?: readonly string[]
  resolvers?: readonly string[]
  port?: number
} = {}): Nameservers {
  const resolver = asking(fixed.length > 0 ? fixed : resolvers)
  const withPort = (address: string) =>
    port === 53 ? address : isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
  const addressesOf = async (name: string): Promise<Nameserver> => {
    const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
    const addresses = found.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    if (addresses.length === 0) throw new Error(`The name server ${name} has no address.`, { cause: reasonOf(found) })
    return { name, addresses: addresses.map(withPort) }
  }
  return {
    async of(zone) {
      if (fixed.length > 0) return fixed.map((address) => ({ name: address, addresses: [address] }))
      return Promise.all((await resolver.resolveNs(zone)).map(addressesOf))
    },
    txt: (address, name) =>
      orNothing([], async () => (await asking([address]).resolveTxt(name)).map((parts) => parts.join(''))),
    cname: (name) => orNothing(undefined, async () => (await resolver.resolveCname(name))[0]),
  }
}

function asking(servers: readonly string[]): Resolver {
  const resolver = new Resolver(timing)
  if (servers.length > 0) resolver.setServers(servers)
  return resolver
}

async function orNothing<T>(nothing: T, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (noData.has((error as NodeJS.ErrnoException).code ?? '')) return nothing
    throw error
  }
}

function reasonOf(found: readonly PromiseSettledResult<unknown>[]): unknown {
  return found.find((one) => one.status === 'rejected')?.reason
}
