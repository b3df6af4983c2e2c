import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, it, vi } from 'vitest'

const script = join(import.meta.dirname, 'fixtures/talkative.ts')

it('goes on while nobody reads its log, tells how much was dropped, and loses nothing at its exit', async () => {
  const child = fork(script, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  try {
    // Until now nothing of its output was read: the kernel's buffer is full, and much more waits.
    expect(await once(child, 'message')).toEqual(['logged', undefined])
    const lines: { line?: number; dropped?: number; msg: string }[] = []
    createInterface(child.stdout!).on('line', (line) => lines.push(JSON.parse(line)))
    await vi.waitFor(() => expect(lines.some(({ dropped }) => dropped)).toBe(true), 30_000)
    const dropped = lines.find((line) => line.dropped)?.dropped ?? 0
    const numbers = lines.flatMap(({ line }) => line ?? [])
    expect(dropped).toBeGreaterThan(0)
    expect(numbers).toEqual(Array.from({ length: 16 * 1024 - dropped }, (_, i) => i + 1))
    child.send('end')
    expect(await once(child, 'close')).toEqual([3, null])
    expect(lines.at(-1)?.msg).toBe('last words')
  } finally {
    child.kill('SIGKILL')
  }
})
