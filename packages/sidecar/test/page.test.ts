import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { sidecarConfig } from '../src/config.ts'
import { thresholdTable } from '../src/thresholds.ts'

const page = await readFile(new URL('../../../docs/audio-nodes.md', import.meta.url), 'utf8')
const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')

test('docs/audio-nodes.md lists every threshold with its default and its why', () => {
  const rows = page.split('\n').flatMap((line) => {
    const [, name, value, why] = /^\| `(\w+)` +\| +([\d.]+) +\| +(.*?) +\|$/.exec(line) ?? []
    return name === undefined ? [] : [[name, { value: Number(value), why }] as const]
  })
  const table = Object.entries(thresholdTable).map(([name, { value, why }]) => [name, { value, why }] as const)
  expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(table))
})

test('README.md names every variable, and no other', () => {
  const named = new Set(
    readme
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name)),
  )
  expect([...named].sort()).toEqual(Object.keys(sidecarConfig).sort())
})
