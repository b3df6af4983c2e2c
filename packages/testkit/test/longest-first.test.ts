import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'
import { longest } from '../src/longest-first.ts'

it('names files that are there', () => {
  const packages = new URL('../../', import.meta.url)
  expect(longest.filter((path) => !existsSync(new URL(path, packages)))).toEqual([])
})
