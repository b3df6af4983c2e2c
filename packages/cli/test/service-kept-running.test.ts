import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '@damon/testkit/eventually'
import { temporaryFolder } from '@damon/testkit/temporary-folder'
import { expect, test } from 'vitest'
import { ServiceLog } from '../src/up/service-log.ts'
import { ServiceProcess } from '../src/up/service-process.ts'

const never = new AbortController().signal

async function service(script: string) {
  const folder = await temporaryFolder()
  const path = join(folder.path, 'main.mjs')
  const logPath = join(folder.path, 'logs', 'hub.log')
  await writeFile(path, script)
  const told: string[] = []
  const tell = (line: string) => void told.push(line)
  const log = await ServiceLog.open('hub', logPath, tell)
  const asked: (string | undefined)[] = []
  const spec = {
    name: 'hub',
    script: path,
    env: (last?: Readonly<Record<string, string>>) => {
      asked.push(last?.url)
      return { PORT: '1' }
    },
  }
  const process = new ServiceProcess(spec, log, tell)
  return {
    process,
    told,
    asked,
    logPath,
    async [Symbol.asyncDispose]() {
      await process[Symbol.asyncDispose]()
      await log[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const lives = `
process.send({ ready: { name: 'hub', url: 'wss://localhost:4242', metrics: 'http://127.0.0.1:1' } })
process.on('SIGTERM', () => process.exit(0))
setInterval(() => {}, 1000)
`

test('a service that is killed is started again, with what it said before, and both are told', async () => {
  await using hub = await service(lives)
  const { url } = await hub.process.start(never)
  expect(url).toBe('wss://localhost:4242')
  const first = hub.process.pid!
  process.kill(first, 'SIGKILL')
  await eventually(() => expect(hub.told.at(-1)).toMatch(/^hub is back \(pid \d+\)\.$/))
  expect(hub.told[0]).toMatch(/^hub ended \(SIGKILL\); it is started again in \d\.\d s\.$/)
  expect(hub.process.pid).not.toBe(first)
  expect(hub.asked).toEqual([undefined, 'wss://localhost:4242'])
})

test('a service that ends before it is ready fails in its own words', async () => {
  await using hub = await service(`console.error('The configuration is not valid.'); process.exit(78)`)
  await expect(hub.process.start(never)).rejects.toMatchObject({
    code: 'service_failed',
    message: 'hub ended (exit code 78).\n  The configuration is not valid.',
  })
})

test('a start is given up when all shall end', async () => {
  await using hub = await service(`console.error('waiting'); setInterval(() => {}, 1000)`)
  const ending = new AbortController()
  const start = hub.process.start(ending.signal)
  const failed = expect(start).rejects.toMatchObject({ code: 'service_failed' })
  await eventually(() => expect(hub.told).toHaveLength(1))
  ending.abort()
  await failed
})

test('kill ends a service that ignores SIGTERM, with the processes it started', async () => {
  await using hub = await service(`
    import { spawn } from 'node:child_process'
    process.on('SIGTERM', () => {})
    spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' })
    process.send({ ready: { name: 'hub', metrics: '' } })
    setInterval(() => {}, 1000)`)
  await hub.process.start(never)
  hub.process.kill()
  // Its outputs end with the last process that holds them, and not before.
  await hub.process[Symbol.asyncDispose]()
  expect(hub.told).toEqual([])
})

test('everything is in the log file, and only problems are on the terminal, on one line each', async () => {
  await using hub = await service(`
    const line = (level, msg, err) => console.log(JSON.stringify({ level, msg, err }))
    line('info', 'ready'); line('warn', 'red \\u001b[31m alert\\nnow'); line('error', 'no', { message: 'boom', code: 'EBOOM' })
    console.error('plain words')
    ${lives}`)
  await hub.process.start(never)
  await eventually(() => expect(hub.told).toHaveLength(3))
  expect(hub.told.toSorted()).toEqual([
    'hub            plain words',
    'hub      error no: boom [EBOOM]',
    'hub      warn  red  alert now',
  ])
  await eventually(async () => expect((await readFile(hub.logPath, 'utf8')).split('\n')).toHaveLength(5))
  expect((await stat(hub.logPath)).mode & 0o777).toBe(0o600)
})
