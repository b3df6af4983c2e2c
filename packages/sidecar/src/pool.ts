/** How Lavalink chooses its outgoing addresses, as its settings say. */
export interface Pool {
  /** `LoadBalance`, `RotateOnBan`, `NanoSwitch` or `RotatingNanoSwitch`, in any case. */
  strategy: string
  /** CIDR blocks; one address counts as a /32 or /128. */
  blocks: readonly string[]
}

/** What of a pool cannot work, one sentence each: found by trying lavaplayer's planners, see docs/audio-nodes.md. */
export function flawsOf({ strategy, blocks }: Pool): string[] {
  const name = strategy.toLowerCase()
  const flaws: string[] = []
  for (const block of blocks) {
    const bits = hostBits(block)
    if (bits === undefined) flaws.push(`${block} is no address block.`)
    else if (name === 'rotateonban' && bits <= 7)
      flaws.push(`RotateOnBan finds no free address in ${block}: use LoadBalance with single addresses.`)
    else if (name === 'loadbalance' && bits > 0 && block.includes(':') && bits < 31)
      flaws.push(`LoadBalance leaves ${block}: name each of its addresses as a /128.`)
    else if (name.includes('nano') && bits < 64)
      flaws.push(`${strategy} needs at least a /64, and ${block} is smaller.`)
  }
  return flaws
}

/** How many bits of an address the block leaves open; undefined for what is none. */
function hostBits(block: string): number | undefined {
  const [, address = '', length] = /^([\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(block) ?? []
  if (address === '') return undefined
  const all = address.includes(':') ? 128 : 32
  const bits = all - Number(length ?? all)
  return bits >= 0 ? bits : undefined
}
