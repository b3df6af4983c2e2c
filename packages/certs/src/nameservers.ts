import { Resolver } from 'node:dns/promises'

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
}

const timing = { timeout: 2_000, tries: 2 }
const noData = new Set(['ENODATA', 'ENOTFOUND'])

/**
 * The servers that the zone's NS records name, or, where `fixed` lists addresses (a network with its own view of DNS),
 * those for every zone.
 */
export function nameservers(fixed: readonly string[] = []): Nameservers {
  const resolver = new Resolver(timing)
  const addressesOf = async (name: string): Promise<Nameserver> => {
    const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
    const addresses = found.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    if (addresses.length === 0) throw new Error(`The name server ${name} has no address.`, { cause: reasonOf(found) })
    return { name, addresses }
  }
  return {
    async of(zone) {
      if (fixed.length > 0) return fixed.map((address) => ({ name: address, addresses: [address] }))
      return Promise.all((await resolver.resolveNs(zone)).map(addressesOf))
    },
    async txt(address, name) {
      const direct = new Resolver(timing)
      direct.setServers([address])
      try {
        return (await direct.resolveTxt(name)).map((parts) => parts.join(''))
      } catch (error) {
        if (noData.has((error as NodeJS.ErrnoException).code ?? '')) return []
        throw error
      }
    },
  }
}

function reasonOf(found: readonly PromiseSettledResult<unknown>[]): unknown {
  return found.find((one) => one.status === 'rejected')?.reason
}
