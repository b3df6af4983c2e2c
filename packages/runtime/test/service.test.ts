import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import type { ReadyMessage } from '../src/service.ts'

const script = fileURLToPath(new URL('./fixtures/probe-service.ts', import.meta.url))
const children: ChildProcess[] = []

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await once(child, 'exit')
  }
})

/** The path of a file with this content, in a folder that is removed after the test. */
async function fileWith(content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'damon-runtime-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'value')
  await writeFile(path, content)
  return path
}

/** The probe as a real child process. */
function spawnProbe(env: Record<string, string>) {
  const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  children.push(child)
  let output = ''
  let onOutput = () => {}
  const streams = [child.stdout!, child.stderr!]
  for (const stream of streams) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text
      onOutput()
    })
  }
  const lines = (): { msg: string; metrics?: string }[] =>
    output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
  // Not 'close' of the child: it never comes once this side has disconnected.
  const ends = [once(child, 'exit'), ...streams.map((stream) => once(stream, 'close'))]
  const closed = Promise.all(ends).then(() => child.exitCode)
  return {
    child,
    closed,
    output: () => output,
    lines,
    messages: () => lines().map((line) => line.msg),
    async ready() {
      const [message] = (await once(child, 'message')) as [ReadyMessage]
      return message.ready
    },
    says(text: string): Promise<void> {
      return new Promise((resolve) => {
        onOutput = () => output.includes(text) && resolve()
        onOutput()
      })
    },
  }
}

describe('a service', () => {
  it('tells its parent when it is ready and where', async () => {
    const probe = spawnProbe({})
    const ready = await probe.ready()
    expect(ready).toEqual({
      name: 'probe',
      url: 'probe://here',
      metrics: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    })
    expect((await fetch(`${ready.metrics}/ready`)).status).toBe(200)
    expect(await (await fetch(`${ready.metrics}/metrics`)).text()).toBe('probe_metric 1\n')
  })

  it.each(['SIGTERM', 'SIGINT'] as const)('closes what it opened last first on %s and exits 0', async (signal) => {
    const probe = spawnProbe({})
    await probe.ready()
    probe.child.kill(signal)
    expect(await probe.closed).toBe(0)
    expect(probe.messages().slice(-4)).toEqual(['stopping', 'closed second', 'closed first', 'stopped'])
  })

  it('ends when its parent is gone', async () => {
    const probe = spawnProbe({})
    await probe.ready()
    probe.child.disconnect()
    expect(await probe.closed).toBe(0)
    expect(probe.output()).toContain('parent gone')
    expect(probe.messages()).toContain('closed first')
  })

  it('takes a signal that comes several times at once for one', async () => {
    const probe = spawnProbe({})
    await probe.ready()
    probe.child.kill('SIGINT')
    probe.child.kill('SIGTERM')
    probe.child.kill('SIGINT')
    expect(await probe.closed).toBe(0)
  })

  it('exits 1 when a second signal comes while it closes', async () => {
    const probe = spawnProbe({ PROBE: 'hanging close', SHUTDOWN_MS: '600000' })
    await probe.ready()
    const repeat = setInterval(() => probe.child.kill('SIGTERM'), 50)
    expect(await probe.closed.finally(() => clearInterval(repeat))).toBe(1)
    expect(probe.messages()).toContain('stopped by a repeated signal')
  })

  it('only hurries at the second signal when it drains, and exits 0', async () => {
    const probe = spawnProbe({ PROBE: 'draining', SHUTDOWN_MS: '600000' })
    await probe.ready()
    probe.child.kill('SIGTERM')
    await probe.says('waiting for others')
    const repeat = setInterval(() => probe.child.kill('SIGTERM'), 50)
    await probe.says('hurried by a second signal')
    clearInterval(repeat)
    expect(await probe.closed).toBe(0)
    expect(probe.messages().slice(-3)).toEqual(['closed second', 'closed first', 'stopped'])
  })

  it('exits 1 when closing takes longer than SHUTDOWN_MS', async () => {
    const probe = spawnProbe({ PROBE: 'hanging close', SHUTDOWN_MS: '100' })
    await probe.ready()
    probe.child.kill('SIGTERM')
    expect(await probe.closed).toBe(1)
    expect(probe.messages()).toContain('not closed within SHUTDOWN_MS')
  })

  it('exits 1 when closing fails, after closing the rest', async () => {
    const probe = spawnProbe({ PROBE: 'failing close' })
    await probe.ready()
    probe.child.kill('SIGTERM')
    expect(await probe.closed).toBe(1)
    expect(probe.output()).toContain('close failed')
    expect(probe.messages()).toContain('closed first')
  })

  it('gives up a start that has not finished, and closes what was opened', async () => {
    const probe = spawnProbe({ PROBE: 'slow start' })
    await probe.says('starting slowly')
    probe.child.kill('SIGTERM')
    expect(await probe.closed).toBe(0)
    expect(probe.messages()).toContain('closed first')
    expect(probe.messages()).not.toContain('ready')
  })

  it('is not ready before its start has finished', async () => {
    const probe = spawnProbe({ PROBE: 'slow start' })
    await probe.says('starting slowly')
    const { metrics } = probe.lines().find((line) => line.msg === 'starting') ?? {}
    expect((await fetch(`${metrics}/live`)).status).toBe(200)
    const response = await fetch(`${metrics}/ready`)
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ ready: false, failing: { service: 'starting' } })
  })

  it('exits 1 with the reason and its cause when it cannot start', async () => {
    const probe = spawnProbe({ PROBE: 'failing start' })
    expect(await probe.closed).toBe(1)
    expect(probe.output()).toContain('cannot log in')
    expect(probe.output()).toContain('refused')
    expect(probe.messages()).toContain('closed first')
  })

  it('exits 1 with a fatal line on an error that nobody caught', async () => {
    const probe = spawnProbe({ PROBE: 'uncaught' })
    await probe.ready()
    probe.child.kill('SIGTERM')
    expect(await probe.closed).toBe(1)
    expect(probe.output()).toContain('nobody caught this')
    expect(probe.messages()).toContain('uncaught error')
  })

  it('exits 78 with every problem of its configuration, naming the variables but no values', async () => {
    const probe = spawnProbe({
      PROBE_PORT: '99999999',
      PROBE_PASSWORD: 'hunter2',
      PROBE_REQUIRED_FILE: '/nowhere/required',
      LOG_LEVEL: 'shout',
      SHUTDOWN_MS: '5',
    })
    expect(await probe.closed).toBe(78)
    expect(probe.output()).toMatchInlineSnapshot(`
      "The configuration is not valid.
        PROBE_REQUIRED cannot be read: PROBE_REQUIRED_FILE names /nowhere/required (ENOENT)
        PROBE_PORT must be a whole number from 0 to 65535
        PROBE_PASSWORD must have at least 8 characters
        LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent
        SHUTDOWN_MS must be a whole number from 100 to 600000 (milliseconds)
      "
    `)
  })

  it('takes a secret from a file and never prints it', async () => {
    const password = 'correct "horse" \\ battery'
    const env = { PROBE: 'unready', PROBE_PASSWORD_FILE: await fileWith(`${password}\n`), LOG_LEVEL: 'trace' }
    const probe = spawnProbe(env)
    const ready = await probe.ready()
    expect(await (await fetch(`${ready.metrics}/ready`)).json()).toEqual({
      ready: false,
      failing: { redis: 'refused [secret]' },
    })
    probe.child.kill('SIGTERM')
    expect(await probe.closed).toBe(0)
    expect(probe.output()).toContain('the password is [secret]')
    expect(probe.output()).not.toContain('horse')
  })

  it('does not print a secret when it cannot start', async () => {
    const probe = spawnProbe({ PROBE: 'failing start', PROBE_PASSWORD: 'correct horse' })
    expect(await probe.closed).toBe(1)
    expect(probe.output()).toContain('cannot log in with [secret]')
    expect(probe.output()).not.toContain('horse')
  })
})
