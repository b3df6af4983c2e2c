import { pino } from 'pino'

/** What waits for a reader of standard output at most, bytes; what comes then is dropped, and counted. */
export const logBytes = 8 * 1024 * 1024

/** How soon it is tried again when the reader did not take all, ms. */
const againMs = 50

/** How long the last lines wait at the exit, ms. */
const lastMs = 1_000

let output: ReturnType<typeof pino.destination> | undefined

/**
 * Writes a line to standard output, in order and at once, unless who reads it does not: a log that nobody takes must not stop a
 * service. How many lines were dropped is told as a line once it is read again.
 */
export function writeLine(line: string): void {
  output ??= open()
  output.write(line)
}

function open(): ReturnType<typeof pino.destination> {
  // To open the stream has the system answer EAGAIN where a write to a pipe would wait.
  void process.stdout
  const out = pino.destination({ fd: 1, sync: true, maxLength: logBytes, retryEAGAIN: () => false })
  let dropped = 0
  let again: NodeJS.Timeout | undefined
  out.on('drop', () => dropped++)
  out.on('error', () => {
    again?.refresh()
    again ??= setTimeout(() => void out.write(''), againMs).unref()
  })
  out.on('drain', () => {
    if (dropped === 0) return
    const told = { level: 'warn', time: new Date().toISOString(), pid: process.pid, dropped }
    dropped = 0
    out.write(`${JSON.stringify({ ...told, msg: 'log lines were dropped: nobody read standard output' })}\n`)
  })
  process.on('exit', () => flushWithin(out, lastMs))
  return out
}

function flushWithin(out: ReturnType<typeof pino.destination>, ms: number): void {
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (const until = performance.now() + ms; performance.now() < until; Atomics.wait(pause, 0, 0, againMs / 5)) {
    try {
      out.flushSync()
      return
    } catch {
      // Still nobody reads it.
    }
  }
}
