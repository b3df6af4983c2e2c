import { z } from 'zod'

/** A for IPv4, AAAA for IPv6. */
export type AddressType = 'A' | 'AAAA'

/** A provider of DNS zones as far as addresses are concerned; names are full, without a trailing dot. */
export interface AddressRecords {
  /**
   * Makes these the only addresses of a name, with the shortest time to live that the provider allows; says whether there was
   * anything to change. MUST publish the new ones before it takes the others away, and MUST touch no other type or name.
   * Throws a CertsError that holds no credential.
   */
  setAddresses(name: string, type: AddressType, addresses: readonly string[], signal: AbortSignal): Promise<boolean>
}

const source = 'must be interface, digitalocean, or an http(s) URL that answers with the address of who asks'

/** Where the address of one name comes from: an entry of `addresses` in the certificates file. */
export const addressRules = z
  .strictObject({
    /** `interface`: of this machine; `digitalocean`: what the droplet's metadata say; a URL that answers with the caller's address. */
    from: z.union([z.enum(['interface', 'digitalocean']), z.url({ protocol: /^https?$/, error: source })], {
      error: source,
    }),
    /** Name of the interface; without it, the first with a global address. */
    interface: z.string().min(1).optional(),
    families: z
      .array(z.union([z.literal(4), z.literal(6)], { error: 'must be 4 or 6' }))
      .min(1)
      .default([4, 6]),
    /** How often it is looked, seconds: with the 30 s of the records and a client's next attempt, well under a minute. */
    every: z.int().min(1).max(3_600).default(10),
  })
  .refine((rules) => rules.interface === undefined || rules.from === 'interface', {
    path: ['interface'],
    error: 'belongs to from: interface',
  })

/** Where the address of one name comes from. */
export type AddressRules = z.output<typeof addressRules>
