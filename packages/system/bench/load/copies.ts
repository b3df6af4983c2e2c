/** Copies of a frame in one piece, as many as asked; kept for the next time. */
export function copies(frame: Buffer): (count: number) => Buffer {
  const kept: Buffer[] = []
  return (count) => {
    kept[count] ??= Buffer.concat(Array.from({ length: count }, () => frame))
    return kept[count]
  }
}
