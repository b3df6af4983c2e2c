import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A process that plays a part in the demonstration; it ends when disposed: SIGTERM, after 10 s SIGKILL. */
export interface Actor extends AsyncDisposable {
  /** What it told when it was ready, once that came. Rejects if it ends before. */
  readonly ready: Promise<Readonly<Record<string, unknown>>>
  /** Its exit code; undefined when a signal ended it. */
  readonly ended: Promise<number | undefined>
  signal(name: NodeJS.Signals): void
}

const endMs = 10_000

/** Starts a script with these arguments, PATH, HOME, NODE_COMPILE_CACHE and these variables only; `hear` gets each line of its output. */
export function startActor(
  script: string,
  options: { args?: readonly string[]; env?: Readonly<Record<string, string>>; hear?: (line: string) => void },
): Actor {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(process.execPath, [script, ...(options.args ?? [])], {
    env: { PATH, HOME, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // Ctrl-C reaches the director alone, who ends the actors in order; they end too when the director is gone.
    detached: true,
  })
  const last: string[] = []
  const hear = (line: string): void => {
    last.push(line)
    if (last.length > 10) last.shift()
    options.hear?.(line)
  }
  for (const input of [child.stdout, child.stderr]) if (input) createInterface({ input }).on('line', hear)
  const ended = once(child, 'exit').then(([code]) => (code as number | null) ?? undefined)
  const ready = Promise.race([
    once(child, 'message').then(([message]) => (message as { ready: Record<string, unknown> }).ready),
    ended.then((code) => {
      throw new Error([`${script} ended (${code ?? 'killed'}) before it was ready:`, ...last].join('\n'))
    }),
  ])
  ready.catch(() => {})
  return {
    ready,
    ended,
    signal: (name) => void child.kill(name),
    async [Symbol.asyncDispose]() {
      const timer = setTimeout(() => child.kill('SIGKILL'), endMs)
      child.kill('SIGTERM')
      await ended
      clearTimeout(timer)
    },
  }
}
