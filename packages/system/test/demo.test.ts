import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const script = fileURLToPath(new URL('../src/demo.ts', import.meta.url))

/** How long the whole product may take to start, play and end on a busy machine, ms. */
const timeout = 120_000

/** The demonstration at full speed; `hear` gets its output as it comes. */
async function runDemo(hear: (output: string, stop: () => void) => void = () => {}) {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(process.execPath, [script], {
    env: { PATH, HOME, NODE_COMPILE_CACHE, DEMO_PAUSE_MS: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      hear(output, () => child.kill('SIGINT'))
    })
  }
  const [code] = await once(child, 'close')
  return { code, output }
}

it('shows an audio node announced, unreachable, drained and retired, and ends by itself', { timeout }, async () => {
  const { code, output } = await runDemo()
  const story = ['is ready', 'is unreachable', 'is ready', 'is draining', 'is gone: dropped as retired', 'exit code 0']
  expect(output).toMatch(new RegExp(story.join('[^]*')))
  expect(output).toMatch(/bot +demo: ready, .* 2 players/)
  expect(output).not.toContain('youshallnotpass')
  expect(code).toBe(0)
})

it('ends cleanly when it is stopped in the middle', { timeout }, async () => {
  let stopped = false
  const { code, output } = await runDemo((text, stop) => {
    // Another signal while it ends would be the wish to end at once.
    if (!stopped && text.includes('2 players')) stop()
    stopped ||= text.includes('2 players')
  })
  expect(output.trimEnd()).toMatch(/Stopped\.$/)
  expect(code).toBe(0)
})
