import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { startProgram, startService } from '../src/process.ts'
import { temporaryFolder } from '../src/temporary-folder.ts'

/** A script in a folder of its own. */
async function script(source: string) {
  const folder = await temporaryFolder()
  const path = join(folder.path, 'script.mjs')
  await writeFile(path, source)
  return { path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

it('resolves at the ready message and gathers both outputs', async () => {
  await using file = await script(`
    process.on('SIGUSR2', () => { console.log('three'); process.exit(3) })
    process.on('message', () => {})
    console.log('one', process.env.GIVEN, Object.keys(process.env).includes('VITEST'))
    console.error('two')
    process.send({ other: true })
    process.send({ ready: { name: 'probe', url: 'probe://here' } })
  `)
  await using service = await startService(file.path, { GIVEN: 'x' })
  expect(service.ready).toEqual({ name: 'probe', url: 'probe://here' })
  await Promise.all([service.says('one x false'), service.says('two')])
  service.signal('SIGUSR2')
  expect(await service.exited).toEqual({ code: 3, signal: null })
  expect(service.output).toContain('three')
  await expect(service.says('four')).rejects.toThrow(/ended \(3\) before it said "four"/)
})

it('rejects with what was printed when it ends before it is ready', async () => {
  await using file = await script(`console.error('no such thing'); process.exitCode = 78`)
  await expect(startService(file.path, {})).rejects.toThrow(/ended \(78\) before it was ready:\nno such thing/)
})

it('ends the process when disposed', async () => {
  await using file = await script(`process.send({ ready: {} }); process.on('message', () => {})`)
  const service = await startService(file.path, {})
  await service[Symbol.asyncDispose]()
  expect(await service.exited).toEqual({ code: null, signal: 'SIGTERM' })
})

it('starts with arguments, and without waiting for anything', async () => {
  await using file = await script(`console.log(process.argv.slice(2).join('+'))`)
  const program = startProgram(file.path, {}, ['one', 'two'])
  expect(await program.exited).toEqual({ code: 0, signal: null })
  expect(program.output).toBe('one+two\n')
})
