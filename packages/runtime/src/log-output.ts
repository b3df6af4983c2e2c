import { pino } from 'pino'

/** What waits for a reader of standard output at most, bytes; what comes then is dropped, and counted. */
export const logBytes = 8 * 1024 * 1024

let output: ReturnType<typeof pino.destination> | undefined
let dropped = 0

/**
 * Writes a line to standard output, in order, without waiting for who reads it: a log that nobody takes must not stop a service.
 * How many lines were dropped is told as a line once it is read again. What waits is written out when the process exits.
 */
export function writeLine(line: string): void {
  output ??= open()
  output.write(line)
}

function open(): ReturnType<typeof pino.destination> {
  const out = pino.destination({ fd: 1, sync: false, maxLength: logBytes })
  out.on('drop', () => dropped++)
  out.on('drain', () => {
    if (dropped === 0) return
    const told = { level: 'warn', time: new Date().toISOString(), pid: process.pid, dropped }
    dropped = 0
    out.write(`${JSON.stringify({ ...told, msg: 'log lines were dropped: nobody read standard output' })}\n`)
  })
  process.on('exit', () => out.flushSync())
  return out
}
