import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readProxyHeader } from '../src/proxy-header.ts'

const line = (text: string) => Buffer.from(`${text}\r\n`)
const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

/** A header of version 2 (PROXY protocol, section 2.2). */
function binary(command: number, family: number, addresses: Buffer, more = Buffer.alloc(0)): Buffer {
  const head = Buffer.from([0x20 | command, (family << 4) | 1, 0, 0])
  head.writeUInt16BE(addresses.length + more.length, 2)
  return Buffer.concat([signature, head, addresses, more])
}
const ipv4 = Buffer.from([203, 0, 113, 7, 127, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb])
const ipv6 = Buffer.concat([Buffer.from('20010db8000000010000000000000042', 'hex'), Buffer.alloc(20)])

const good: [string, Buffer, string | undefined][] = [
  ['v1 over IPv4', line('PROXY TCP4 203.0.113.7 127.0.0.1 40000 443'), '203.0.113.7'],
  ['v1 over IPv6', line('PROXY TCP6 2001:db8::42 ::1 40000 443'), '2001:db8::42'],
  ['v1 of nobody', line('PROXY UNKNOWN'), undefined],
  ['v1 of nobody, with something behind it', line('PROXY UNKNOWN ffff::1 ffff::2 1 2'), undefined],
  ['v2 over IPv4', binary(1, 1, ipv4), '203.0.113.7'],
  ['v2 over IPv6', binary(1, 2, ipv6), '2001:db8:0:1:0:0:0:42'],
  ['v2 with more behind the addresses', binary(1, 1, ipv4, Buffer.from([4, 0, 1, 0])), '203.0.113.7'],
  ['v2 of the proxy itself', binary(0, 0, Buffer.alloc(0)), undefined],
  ['v2 over a Unix socket', binary(1, 3, Buffer.alloc(216)), undefined],
]

describe('a PROXY header', () => {
  it.each(good)('%s names the client, however little of it comes at a time', (_, header, address) => {
    const bytes = Buffer.concat([header, Buffer.from('GET / HTTP/1.1\r\n')])
    for (let length = 0; length < header.length; length++)
      expect(readProxyHeader(bytes.subarray(0, length))).toBeUndefined()
    expect(readProxyHeader(bytes)).toEqual({ length: header.length, address })
  })

  it.each([
    ['none', Buffer.from('GET / HTTP/1.1\r\n')],
    ['a lower case one', line('proxy TCP4 203.0.113.7 127.0.0.1 40000 443')],
    ['another family', line('PROXY UDP4 203.0.113.7 127.0.0.1 40000 443')],
    ['an address of the other family', line('PROXY TCP4 ::1 127.0.0.1 40000 443')],
    ['no address', line('PROXY TCP4 a b 40000 443')],
    ['a port too many', line('PROXY TCP4 203.0.113.7 127.0.0.1 40000 443 1')],
    ['a port too high', line('PROXY TCP4 203.0.113.7 127.0.0.1 65536 443')],
    ['a line without an end', Buffer.from(`PROXY TCP4 ${'1'.repeat(200)}`)],
    ['version 3', Buffer.concat([signature, Buffer.from([0x31, 0x11, 0, 12]), ipv4])],
    ['an unknown command', binary(2, 1, ipv4)],
    ['too short for its addresses', binary(1, 1, ipv4.subarray(0, 11))],
    ['too long', binary(1, 1, Buffer.alloc(4_000))],
  ])('that is %s is refused', (_, bytes) => {
    expect(() => readProxyHeader(bytes)).toThrow()
  })

  it('that is garbage is refused or waited for, and never read beyond its end', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom('', 'PROXY ', 'PROXY TCP4 ', signature),
        (more, begin) => {
          const bytes = Buffer.concat([Buffer.from(begin), more])
          try {
            const header = readProxyHeader(bytes)
            if (header) expect(header.length).toBeLessThanOrEqual(bytes.length)
            // What is still waited for is no longer than the longest header.
            else expect(bytes.length).toBeLessThan(2_048 + 16)
          } catch (error) {
            expect((error as Error).message).toMatch(/^The(re)? .*PROXY header/)
          }
        },
      ),
    )
  })
})
