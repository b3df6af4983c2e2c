import { canonical } from '@damon/client/unicast-node'
import type { NodeRecord } from '@damon/protocol/records'
import type { NodeSettings } from './node-settings.ts'

type Address = NodeRecord['address']

/** Where bots find the node: as configured, else at the `hosts` that were found out; undefined while none is known. */
export function addressesOf(
  { url, address, port, secure }: Pick<NodeSettings, 'url' | 'address' | 'port' | 'secure'>,
  hosts: readonly string[] | undefined,
): { address: Address; otherAddresses?: Address[] } | undefined {
  const tls = secure ?? url.protocol === 'https:'
  const number = port ?? (Number(url.port) || (url.protocol === 'https:' ? 443 : 80))
  const known = address === undefined ? hosts : [address]
  const [first, ...others] = (known ?? []).map((host) => ({ host: canonical(host), port: number, secure: tls }))
  return first && { address: first, ...(others.length > 0 && { otherAddresses: others }) }
}
