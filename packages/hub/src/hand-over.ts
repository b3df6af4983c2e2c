import type { Worker as Child } from 'node:cluster'

/** What the primary of `node:cluster` tells a worker of a connection, and hears of it (lib/internal/cluster). */
interface Word {
  cmd?: string
  act?: string
  seq?: number
  ack?: number
}

/**
 * Closes the connections that were handed to a worker and not taken by it when it died. Node forgets them: the primary would
 * keep them open for ever, and their clients would wait for as long as they wait for any hub.
 */
export function closeUntaken(child: Child): void {
  const { process } = child
  const untaken = new Map<number, { close(): void }>()
  const send = process.send.bind(process) as (message: Word, ...rest: unknown[]) => boolean
  process.send = ((message: Word, handle?: { close(): void }, ...rest: unknown[]) => {
    if (message?.cmd === 'NODE_CLUSTER' && message.act === 'newconn' && message.seq !== undefined && handle)
      untaken.set(message.seq, handle)
    return send(message, handle, ...rest)
  }) as typeof process.send
  process.on('internalMessage', ({ ack }: Word) => {
    if (ack !== undefined) untaken.delete(ack)
  })
  process.once('exit', () => {
    for (const handle of untaken.values()) handle.close()
    untaken.clear()
  })
}
