import { get as getHttp } from 'node:http'
import { get as getHttps } from 'node:https'
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { AddressRules } from './addresses.ts'

/** DigitalOcean's metadata, which only the droplet itself can ask. */
const metadataUrl = 'http://169.254.169.254/metadata/v1/interfaces/public/0'
const answerMs = 5_000
/** An address and a line's end; what is longer is a page. */
const answerBytes = 256

/** What no other network can reach: RFC 6890 without documentation. */
const local = new BlockList()
for (const [network, prefix, family] of [
  ['0.0.0.0', 8, 'ipv4'],
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'],
  // Not ::/8, which holds every IPv4 address in its mapped form.
  ['::', 127, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
] as const) {
  local.addSubnet(network, prefix, family)
}

/**
 * The address by which others reach this machine, nothing where it has none of this family. Rejects when that cannot be told
 * now; an address that cannot be told MUST NOT be taken for none.
 */
export async function publicAddress(
  { from, interface: name }: Pick<AddressRules, 'from' | 'interface'>,
  family: 4 | 6,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (from === 'interface') return ofInterface(name, family)
  if (from === 'digitalocean') return ask(`${metadataUrl}/ipv${family}/address`, 4, family, signal)
  return ask(from, family, family, signal)
}

/** The first global address; on an interface that is named, the first that is not link-local. */
export function ofInterface(
  name: string | undefined,
  family: 4 | 6,
  interfaces = networkInterfaces(),
): string | undefined {
  const all = name === undefined ? Object.values(interfaces).flat() : interfaces[name]
  if (!all) throw new Error(`There is no interface ${name}.`)
  return all.find((one) => {
    if (one?.family !== `IPv${family}`) return false
    if (name !== undefined) return !/^(fe80:|169\.254\.)/i.test(one.address)
    return !local.check(one.address, family === 4 ? 'ipv4' : 'ipv6')
  })?.address
}

/** Asks a URL over IPv4 or IPv6 for an address. A metadata service that knows none answers 404. */
function ask(url: string, over: 4 | 6, family: 4 | 6, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const get = url.startsWith('https:') ? getHttps : getHttp
    const options = {
      family: over,
      agent: false,
      headers: { accept: 'text/plain' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
    }
    const request = get(url, options, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        if (text.length <= answerBytes) return
        reject(new Error(`${url} answers with something longer than an address.`))
        request.destroy()
      })
      response.on('error', reject)
      response.on('end', () => {
        const address = text.trim()
        if (response.statusCode === 404) resolve(undefined)
        else if (response.statusCode !== 200) reject(new Error(`${url} answers ${response.statusCode}.`))
        else if (isIP(address) === family) resolve(address)
        else reject(new Error(`${url} answers with something that is no IPv${family} address.`))
      })
    })
    request.on('error', reject)
  })
}
