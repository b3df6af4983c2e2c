import { Command, CommanderError } from 'commander'
import { describeFailure, exits } from './cli-error.ts'
import { addAsk } from './commands/ask.ts'
import { addCerts } from './commands/certs.ts'
import { addHub } from './commands/hub.ts'
import { addKeys } from './commands/keys.ts'
import { addNodes } from './commands/nodes.ts'
import { addSend } from './commands/send.ts'
import { addServices } from './commands/services.ts'
import { addStatus } from './commands/status.ts'
import { addToken } from './commands/token.ts'
import { addUp } from './commands/up.ts'
import { addWatch } from './commands/watch.ts'
import type { Terminal } from './terminal.ts'

const about = `Exit codes
  0   done
  1   it went wrong, or not every receiver answered
  64  the command line is wrong
  69  the hub or a receiver cannot be reached now
  73  something is in the way: a file, a port, another \`damon up\`
  77  refused: the token, its rights, or the hub's certificate
  78  a connection file, key or variable is missing or not valid

The connection is taken from --connection, DAMON_JOIN, DAMON_CONNECTION_FILE, or the operator's file that
\`damon up\` made under DAMON_HOME (\`.damon\` in the workspace), in this order.`

/** Runs one command line; resolves to the exit code, after any error was printed. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await createProgram(terminal).parseAsync(args, { from: 'user' })
    return exits.done
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return exits.done
      // Commander has shown the help itself.
      if (error.code !== 'commander.help') complain(args, terminal, 'bad_argument', usage(error))
      return exits.usage
    }
    const failure = describeFailure(error)
    complain(args, terminal, failure.code, failure.message)
    return failure.exit
  }
}

function createProgram(terminal: Terminal): Command {
  const program = new Command('damon')
  program
    .description('The command line of operators.')
    .addHelpText('after', `\n${about}`)
    // A command below another one may have options of the same names.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.print(text.trimEnd()),
      writeErr: (text) => terminal.note(text.trimEnd()),
      // Printed once, with its code, in `run`.
      outputError: () => {},
    })
  const commands = [
    addUp,
    addKeys,
    addToken,
    addStatus,
    addHub,
    addServices,
    addNodes,
    addCerts,
    addWatch,
    addSend,
    addAsk,
  ]
  for (const add of commands) add(program, terminal)
  return program
}

function complain(args: readonly string[], terminal: Terminal, code: string, message: string): void {
  terminal.note(args.includes('--json') ? JSON.stringify({ error: { code, message } }) : `error: ${message} [${code}]`)
}

function usage({ message }: CommanderError): string {
  return `${message.replace(/^error: /, '')} \`damon COMMAND --help\` shows how it is used.`
}
