import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect } from '@damon/client/connect'
import type { Hub } from '@damon/client/hub'
import type { RunningService } from '@damon/testkit/process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildHouse, type House } from '../src/house.ts'
import { installPublished, type PublishedProject } from '../src/published-project.ts'

const workspace = fileURLToPath(new URL('../../../', import.meta.url))
const execute = promisify(execFile)

/** The oldest Node that the SDK is for, and the one that the workspace itself runs on. */
const nodes = {
  'Node 20.19': join(workspace, `packages/system/node_modules/node-20-linux-${process.arch}/bin/node`),
  'this Node': process.execPath,
}

let resources: AsyncDisposableStack
/** A project that has installed the tarball and nothing else, but for TypeScript's own needs. */
let project: PublishedProject
let house: House
let hub: RunningService
let helper: Hub
let connection: string

beforeAll(async () => {
  await using stack = new AsyncDisposableStack()
  project = stack.use(await installPublished(['@types/node']))
  house = stack.use(await buildHouse())
  hub = stack.use(await house.startHub())
  const rights = ['join:*', 'send:*', 'ask:*', 'get:*', 'put:thing/*']
  connection = await house.connectionFile(hub.ready.url ?? '', 'bot/published', rights)
  helper = stack.use(
    await connect(await house.credential(hub.ready.url ?? '', 'bot/helper', rights), { groups: ['helpers'] }),
  )
  helper.handle('double', (value) => Number(value) * 2)
  resources = stack.move()
})
afterAll(() => resources?.disposeAsync())

/** What each program does with the SDK: a request, a record, and an error of the table. */
const program = `
  const hub = await connect()
  const [answer] = await hub.group('helpers').request('double', 21)
  await hub.put('thing/published', { from: process.version })
  const entry = await hub.get('thing/published')
  const refused = await hub.put('other', 1).catch((error) => error)
  console.log(JSON.stringify({
    answer: answer.value,
    from: entry.value.from,
    code: refused instanceof DamonError && refused.code,
  }))
  await hub.close()
`

async function run(node: string, file: string, source: string): Promise<unknown> {
  await project.write(file, source)
  const env = { DAMON_CONNECTION_FILE: connection }
  const { stdout, stderr } = await execute(node, [file], { cwd: project.path, env })
  // Node 20 says of its own Ed25519 that it may change; nothing else is said.
  expect(
    stderr.replace(/^.*Ed25519 Web Crypto API algorithm is an experimental feature.*\n.*trace-warnings.*\n/m, ''),
  ).toBe('')
  return JSON.parse(stdout)
}

test('what is published has its modules and their types, and brings few others along', async () => {
  const installed = (await readdir(join(project.path, 'node_modules'))).filter((name) => !name.startsWith('.'))
  expect(installed.sort()).toEqual([
    '@damon',
    '@hpke',
    '@standard-schema',
    '@types',
    'jose',
    'undici-types',
    'ws',
    'zod',
  ])
  expect((await readdir(join(project.path, 'node_modules/@damon/client'))).sort()).toEqual([
    ...['README.md', 'client', 'package.json', 'protocol', 'trust'],
  ])
})

for (const [name, node] of Object.entries(nodes)) {
  test(`a module imports it and works (${name})`, async () => {
    const source = `
      import { connect } from '@damon/client/connect'
      import { DamonError } from '@damon/client/protocol/errors'
      ${program}
    `
    const { stdout: version } = await execute(node, ['--version'])
    expect(await run(node, 'program.mjs', source)).toEqual({ answer: 42, from: version.trim(), code: 'denied' })
  })

  test(`a script requires it and works (${name})`, async () => {
    const source = `
      const { connect } = require('@damon/client/connect')
      const { DamonError } = require('@damon/client/protocol/errors')
      async function main() { ${program} }
      main()
    `
    const { stdout: version } = await execute(node, ['--version'])
    expect(await run(node, 'program.cjs', source)).toEqual({ answer: 42, from: version.trim(), code: 'denied' })
  })

  test(`every part of it loads (${name})`, async () => {
    const parts = await partsForNode()
    const source = `
      const parts = ${JSON.stringify(parts)}
      const required = parts.map((part) => Object.keys(require(part)).length)
      Promise.all(parts.map((part) => import(part))).then((modules) => console.log(modules.length === required.length))
    `
    expect(parts).toEqual(
      expect.arrayContaining(['@damon/client/certificates-node', '@damon/client/lavalink/attach-nodes']),
    )
    expect(await run(node, 'parts.cjs', source)).toBe(true)
  })
}

async function partsForNode(): Promise<string[]> {
  const files = await readdir(join(project.path, 'node_modules/@damon/client/client'), { recursive: true })
  return files.filter((file) => file.endsWith('.js')).map((file) => `@damon/client/${file.slice(0, -'.js'.length)}`)
}

/** As strict as TypeScript is, also with what is installed. */
const strict = {
  ...{ strict: true, noEmit: true, skipLibCheck: false, exactOptionalPropertyTypes: true },
  ...{ noUncheckedIndexedAccess: true, verbatimModuleSyntax: true, target: 'es2022' },
}

async function check(options: object, files: Record<string, string>): Promise<void> {
  for (const [name, source] of Object.entries(files)) await project.write(name, source)
  expect(await project.typeErrors(Object.keys(files), { ...strict, ...options })).toBe('')
}

const typed = `
  import { connect } from '@damon/client/connect'
  import { defineRequest } from '@damon/client/contract'
  import { z } from 'zod'
  const drain = defineRequest('node.drain', { asks: z.object({ node: z.string() }), answers: z.object({ moved: z.number() }) })
  export async function main(): Promise<number> {
    await using hub = await connect()
    using _ = hub.handle(drain, async ({ node }, { signal }) => ({ moved: signal.aborted ? 0 : node.length }))
    let moved = 0
    for (const { verdict, value } of await hub.group('bots').request(drain, { node: 'a' }))
      if (verdict === 'answered') moved += value.moved
    // @ts-expect-error a node is a text
    void hub.group('bots').request(drain, { node: 7 })
    return moved
  }
`

test('types are clean for Node: modules and scripts, every part', async () => {
  const parts = (await partsForNode()).filter((part) => !/lavalink\/(shoukaku|lavalink-client)$/.test(part))
  await check(
    { module: 'nodenext', moduleResolution: 'nodenext', lib: ['es2022', 'dom'], types: ['node'] },
    {
      'typed.mts': typed,
      'parts.mts': parts.map((part, i) => `import * as part${i} from '${part}'\nvoid part${i}`).join('\n'),
      'typed.cts': `import client = require('@damon/client/connect')\nclient.connect().then((hub) => hub.close())`,
    },
  )
})

test('types are clean for a bundler of a web page, without the types of Node', async () => {
  await check(
    {
      module: 'esnext',
      moduleResolution: 'bundler',
      lib: ['es2022', 'dom', 'dom.iterable'],
      types: [],
    },
    { 'typed.ts': typed },
  )
})
