import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Digestible, digestOf, RecordDigest } from '../src/digest.ts'

const record = fc.record<Digestible>({
  key: fc.stringMatching(/^[a-z0-9._-]{1,12}(\/[a-z0-9._-]{1,12}){0,2}$/),
  revision: fc.nat(2 ** 31),
  state: fc.constantFrom('live', 'suspect'),
})
const records = fc.uniqueArray(record, { selector: ({ key }) => key, maxLength: 50 })

it('is the same in whatever order, and whatever came and went in between', () => {
  fc.assert(
    fc.property(records, records, (kept, passing) => {
      const digest = new RecordDigest()
      for (const one of passing) digest.add(one)
      for (const one of kept.toReversed()) digest.add(one)
      for (const one of passing) digest.remove(one)
      expect(digest.toString()).toBe(digestOf(kept))
      expect(digest.toString()).toMatch(/^[0-9a-f]{16}$/)
    }),
  )
})

it('differs when one record is missing, has another revision or state, or when two have changed places', () => {
  const seen = new Set<string>()
  const all: Digestible[] = Array.from({ length: 2_000 }, (_, i) => ({ key: `n/${i}`, revision: i, state: 'live' }))
  const differ = (records: Digestible[]) => {
    const digest = digestOf(records)
    expect(seen.has(digest)).toBe(false)
    seen.add(digest)
  }
  differ(all)
  for (const [i, one] of all.entries()) {
    if (i % 40 !== 0) continue
    const others = all.toSpliced(i, 1)
    differ(others)
    differ([...others, { ...one, revision: one.revision + 5_000 }])
    differ([...others, { ...one, state: 'suspect' }])
    const next = all[i + 1]!
    differ(all.toSpliced(i, 2, { ...one, revision: next.revision }, { ...next, revision: one.revision }))
  }
})

it('is what docs/protocol.md gives as an example', () => {
  expect(digestOf([])).toBe('0000000000000000')
  expect(
    digestOf([
      { key: 'node/a', revision: 7, state: 'live' },
      { key: 'node/b', revision: 9, state: 'suspect' },
    ]),
  ).toBe('e8329b0a9b4ed149')
})
