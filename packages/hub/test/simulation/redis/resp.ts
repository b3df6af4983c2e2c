import { type Reply, textOf } from './data.ts'

/** Reads commands from what a client writes: lists of texts, whose lengths are in front. */
export class CommandReader {
  #bytes = ''
  readonly #take: (command: string[]) => void

  constructor(take: (command: string[]) => void) {
    this.#take = take
  }

  read(bytes: Buffer): void {
    this.#bytes += bytes.toString('latin1')
    for (let command = this.#next(); command; command = this.#next()) this.#take(command)
  }

  #next(): string[] | undefined {
    const text = this.#bytes
    let at = 0
    const number = (): number | undefined => {
      const end = text.indexOf('\r\n', at)
      if (end < 0) return undefined
      const value = Number(text.slice(at + 1, end))
      at = end + 2
      return value
    }
    const count = number()
    if (count === undefined) return undefined
    const command: string[] = []
    for (let i = 0; i < count; i++) {
      const length = number()
      if (length === undefined || text.length < at + length + 2) return undefined
      command.push(text.slice(at, at + length))
      at += length + 2
    }
    this.#bytes = text.slice(at)
    return command
  }
}

/** A reply in version 3 of the protocol. */
export function written(reply: Reply): string {
  if (reply === null) return '_\r\n'
  if (typeof reply === 'number') return `:${reply}\r\n`
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`
  if (Array.isArray(reply)) return `*${reply.length}\r\n${reply.map(written).join('')}`
  if ('word' in reply) return `+${reply.word}\r\n`
  if ('error' in reply) return `-${reply.error}\r\n`
  if ('double' in reply) return `,${textOf(reply.double)}\r\n`
  if ('couples' in reply) return written(reply.couples)
  return `%${reply.pairs.length}\r\n${reply.pairs.flat().map(written).join('')}`
}

/** What the server says of its own accord. */
export function pushed(items: Reply[]): string {
  return `>${items.length}\r\n${items.map(written).join('')}`
}
