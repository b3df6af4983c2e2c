import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const source = new URL('../src/', import.meta.url)
const forNode = (name: string) => name.endsWith('-node.ts') || name === 'local-ca.ts'

test.each(readdirSync(source).filter((name) => !forNode(name)))('%s needs nothing that a browser lacks', (name) => {
  const imports = [...readFileSync(new URL(name, source), 'utf8').matchAll(/from '([^']+)'/g)].map(
    (match) => match[1] ?? '',
  )
  for (const specifier of imports) {
    expect(specifier).toMatch(/^(?:\.\/|@damon\/protocol\/|@hpke\/core$|jose$|zod\/mini$)/)
    expect(forNode(specifier.replace('./', ''))).toBe(false)
  }
})
