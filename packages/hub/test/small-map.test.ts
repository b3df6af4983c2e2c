import fc from 'fast-check'
import { expect, it } from 'vitest'
import { SmallMap } from '../src/small-map.ts'

const key = fc.constantFrom('a', 'b', 'c')
const steps = fc.array(
  fc.oneof(
    fc.record({ what: fc.constant('set' as const), key, value: fc.nat(9) }),
    fc.record({ what: fc.constant('delete' as const), key, value: fc.constant(0) }),
  ),
)

it('has what a map would have, whatever was set and deleted', () => {
  fc.assert(
    fc.property(steps, (steps) => {
      const small = new SmallMap<string, number>()
      const map = new Map<string, number>()
      for (const { what, key, value } of steps) {
        if (what === 'delete') expect(small.delete(key)).toBe(map.delete(key))
        else {
          small.set(key, value)
          map.set(key, value)
        }
        const seen: [string, number][] = []
        small.each((value, key) => seen.push([key, value]))
        expect(new Map(seen)).toEqual(map)
        expect([seen.length, small.size]).toEqual([map.size, map.size])
        for (const one of ['a', 'b', 'c']) expect(small.has(one)).toBe(map.has(one))
      }
    }),
  )
})
