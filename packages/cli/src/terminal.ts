import { exits } from './cli-error.ts'
import { errno } from './files.ts'

/** What a command may use of the world around it. */
export interface Terminal {
  env: Readonly<Record<string, string | undefined>>
  cwd: string
  /** Prints a line of the answer. */
  print(line: string): void
  /** Prints a line beside the answer. */
  note(line: string): void
  /** All of standard input. */
  input(): Promise<string>
  /** From the first call on Ctrl-C and SIGTERM are told here instead of ending the process. */
  interrupt(): Interrupt
}

/** The wish to end. */
export interface Interrupt {
  signal: AbortSignal
  /** Told of a second Ctrl-C. */
  onSecond(listener: () => void): void
}

/** npm passes Ctrl-C on although the terminal sent it to both: within this time, ms, they are one wish. */
const echoMs = 500

/** This process's terminal. */
export function processTerminal(): Terminal {
  // `damon watch node/ | head` has seen enough.
  process.stdout.on('error', (error) => {
    if (errno(error) === 'EPIPE') process.exit(exits.done)
    throw error
  })
  let interrupt: Interrupt | undefined
  return {
    env: process.env,
    cwd: process.cwd(),
    print: (line) => process.stdout.write(`${line}\n`),
    note: (line) => process.stderr.write(`${line}\n`),
    input: async () => {
      process.stdin.setEncoding('utf8')
      return (await Array.fromAsync(process.stdin as AsyncIterable<string>)).join('')
    },
    interrupt() {
      interrupt ??= listen()
      return interrupt
    },
  }
}

function listen(): Interrupt {
  const controller = new AbortController()
  let second = () => {}
  let since = 0
  const onSignal = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) {
      if (performance.now() - since > echoMs) second()
      return
    }
    since = performance.now()
    controller.abort(name)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  // A parent that is gone wishes nothing any more.
  if (process.send) process.on('disconnect', () => onSignal('SIGTERM'))
  return {
    signal: controller.signal,
    onSecond(listener) {
      second = listener
    },
  }
}
