// What leaves the process for a shared bus or store passes here, so that sealing it is a change in one place.
const plain = 0

/** Prepares bytes for the shared bus: a version byte, then the bytes. */
export function seal(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.of(plain), bytes])
}

/** Bytes that a seal takes in front of what it seals. */
export const sealBytes = 1

/** As `seal`, for bytes behind room for the seal. */
export function sealInPlace(bytes: Buffer): Buffer {
  bytes[0] = plain
  return bytes
}

/**
 * Gives back what `seal` was given.
 * @throws Error for a version that this hub does not know
 */
export function open(bytes: Buffer): Buffer {
  if (bytes[0] !== plain) throw new Error(`Sealed with version ${bytes[0]}, which this hub does not know.`)
  return bytes.subarray(1)
}
