import { BlockList, isIP } from 'node:net'

/** Blocks that are no global unicast addresses: RFC 6890 and its registries. */
const special = new BlockList()
for (const [block, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  special.addSubnet(block, bits, 'ipv4')
for (const [block, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  special.addSubnet(block, bits, 'ipv6')
const unicast = new BlockList()
unicast.addSubnet('2000::', 3, 'ipv6')

/** Whether an IP address can be one of a machine on the internet. */
export function isGlobalUnicast(host: string): boolean {
  const family = isIP(host)
  if (family === 4) return !special.check(host, 'ipv4')
  return family === 6 && unicast.check(host, 'ipv6') && !special.check(host, 'ipv6')
}

/** One text for one address: IPv4 inside IPv6 as IPv4, and IPv6 in its shortest form. What is no address stays as it is. */
export function canonical(host: string): string {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
  if (mapped !== undefined) return mapped
  if (isIP(bare) !== 6) return bare.toLowerCase()
  return URL.parse(`http://[${bare}]`)?.hostname.slice(1, -1) ?? bare
}
