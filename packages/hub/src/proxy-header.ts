import { isIPv4, isIPv6 } from 'node:net'

/** What a proxy says in front of a connection: from where it came. Without an address it is the proxy's own. */
export interface ProxyHeader {
  /** Bytes of the header. */
  length: number
  address: string | undefined
}

/** Begins version 2 (PROXY protocol, section 2.2). */
const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** The longest line of version 1, with its end (section 2.1). */
const longestLine = 107
/** The most that a header of version 2 may have behind its first 16 bytes; addresses are a few, what may follow is not read. */
const mostMore = 2_048

/**
 * Reads the header of the PROXY protocol, version 1 or 2, at the beginning of a connection; undefined while it is not
 * complete. @throws Error when it is none
 */
export function readProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  const known = Math.min(bytes.length, signature.length)
  if (bytes.subarray(0, known).equals(signature.subarray(0, known))) return readBinary(bytes)
  const begin = 'PROXY '
  if (bytes.toString('latin1', 0, begin.length) === begin.slice(0, bytes.length)) return readLine(bytes)
  throw new Error('There is no PROXY header.')
}

function readLine(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, longestLine).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length >= longestLine) throw new Error('The PROXY header is too long.')
    return undefined
  }
  const length = end + 2
  const [, family, source = '', destination = '', ...ports] = bytes.toString('latin1', 0, end).split(' ')
  if (family === 'UNKNOWN') return { length, address: undefined }
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  const fits = isAddress?.(source) && isAddress(destination) && ports.length === 2 && ports.every(isPort)
  if (!fits) throw new Error('The PROXY header is not as it should be.')
  return { length, address: source }
}

function readBinary(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < 16) return undefined
  const [version, command] = [bytes.readUInt8(12) >> 4, bytes.readUInt8(12) & 15]
  const family = bytes.readUInt8(13) >> 4
  const more = bytes.readUInt16BE(14)
  if (version !== 2 || command > 1) throw new Error('The PROXY header is of an unknown version or command.')
  if (more > mostMore) throw new Error('The PROXY header is too long.')
  const length = 16 + more
  // LOCAL: the proxy itself, to see whether the hub lives.
  if (command === 0 || (family !== 1 && family !== 2))
    return bytes.length < length ? undefined : { length, address: undefined }
  if (more < (family === 1 ? 12 : 36)) throw new Error('The PROXY header is too short for its addresses.')
  if (bytes.length < length) return undefined
  const source = bytes.subarray(16, family === 1 ? 20 : 32)
  return { length, address: family === 1 ? source.join('.') : readIPv6(source) }
}

function readIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return groups.join(':')
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}
