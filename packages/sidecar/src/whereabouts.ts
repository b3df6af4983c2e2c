import type { Hub } from '@damon/client/hub'
import type { RecordStore } from '@damon/client/records'
import { canonical } from '@damon/client/unicast-node'
import { serviceRecord } from '@damon/protocol/records'
import { z } from 'zod'
import { getText } from './http-text.ts'

/** Under which hosts this machine is reached from outside, the best first; undefined while that is not known. */
export interface Whereabouts {
  hosts(): readonly string[] | undefined
  /** Asks once more; rejects with why it could not be found out. */
  refresh(signal: AbortSignal): Promise<void>
}

const metadata = z.object({
  interfaces: z.object({
    public: z.array(
      z.object({
        ipv4: z.object({ ip_address: z.ipv4() }).optional(),
        ipv6: z.object({ ip_address: z.ipv6() }).optional(),
      }),
    ),
  }),
})
const metadataMs = 3_000
const metadataBytes = 64 * 1024

/** The addresses of a droplet (https://docs.digitalocean.com/reference/api/metadata/), IPv4 before IPv6. */
export function digitalOceanWhereabouts(url: string): Whereabouts {
  let hosts: string[] | undefined
  return {
    hosts: () => hosts,
    async refresh(signal) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(metadataMs)])
      const bounds = { maxBytes: metadataBytes, signal: limit }
      const { status, text } = await getText(new URL('/metadata/v1.json', url), {}, bounds)
      if (status !== 200) throw new Error(`The metadata service answers with status ${status}.`)
      const { public: interfaces } = metadata.parse(JSON.parse(text)).interfaces
      const found = [
        ...interfaces.flatMap(({ ipv4 }) => ipv4?.ip_address ?? []),
        ...interfaces.flatMap(({ ipv6 }) => ipv6?.ip_address ?? []),
      ]
      if (found.length === 0) throw new Error('The metadata service knows no public address of this machine.')
      hosts = found.map(canonical)
    },
  }
}

/** The address from which the hub sees this client: the record that the hub keeps of its session. */
export function hubWhereabouts(hub: Pick<Hub, 'subject' | 'session'> & Pick<RecordStore, 'get'>): Whereabouts {
  let hosts: string[] | undefined
  return {
    hosts: () => hosts,
    async refresh() {
      const entry = await hub.get(`service/${hub.subject}/${hub.session}`)
      const record = serviceRecord.safeParse(entry?.value)
      if (!record.success) throw new Error('The hub has no record of this session.')
      hosts = [canonical(record.data.address)]
    },
  }
}
