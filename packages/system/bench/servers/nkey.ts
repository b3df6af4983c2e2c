// How NATS writes Ed25519 keys: base32 of a prefix, the key and a CRC-16 (XMODEM), low byte first.
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const userPrefix = 20 << 3

/** The public key of a NATS user (`U...`), from `x` of its JWK. */
export function encodeUserKey(x: string): string {
  const bytes = Buffer.concat([Buffer.of(userPrefix), Buffer.from(x, 'base64url')])
  const sum = crc16(bytes)
  return base32(Buffer.concat([bytes, Buffer.of(sum & 0xff, sum >>> 8)]))
}

function crc16(bytes: Buffer): number {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc
}

function base32(bytes: Buffer): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(value >>> bits) & 31]
    }
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text
}
