import { run } from '../src/program.ts'

/** What a command line said and how it ended. */
export interface Outcome {
  code: number
  out: string
  err: string
}

/** Runs one command line in this process, with an environment of its own. */
export async function damon(
  args: readonly string[],
  { env = {}, cwd = '/', input = '' }: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): Promise<Outcome> {
  const out: string[] = []
  const err: string[] = []
  const code = await run(args, {
    env,
    cwd,
    print: (line) => void out.push(line),
    note: (line) => void err.push(line),
    input: async () => input,
    interrupt: () => ({ signal: new AbortController().signal, onSecond: () => {} }),
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}
