import { inspect } from 'node:util'
import { expect, it } from 'vitest'
import { concealer, Secret, secretsIn } from '../src/secret.ts'

it('shows a secret in no way but reveal', () => {
  const secret = new Secret('correct horse')
  expect(`${secret}`).toBe('[secret]')
  expect(JSON.stringify({ secret })).toBe('{"secret":"[secret]"}')
  expect(inspect({ secret }, { depth: 9, showHidden: true })).not.toContain('horse')
  expect(secret.reveal()).toBe('correct horse')
})

it('finds every secret in a configuration', () => {
  const [one, two] = [new Secret('one'), new Secret('two')]
  expect(secretsIn({ one, rest: [{ two }, 3, null] })).toEqual([one, two])
})

it('conceals a secret in every form it may be printed in', () => {
  const conceal = concealer([
    new Secret('a "quoted" value\nof two lines'),
    new Secret('redis://me:p%40ss-word@there:6379'),
  ])
  expect(conceal('it is a "quoted" value\nof two lines!')).toBe('it is [secret]!')
  expect(conceal(JSON.stringify({ is: 'a "quoted" value\nof two lines' }))).toBe('{"is":"[secret]"}')
  expect(conceal('AUTH p@ss-word, p%40ss-word')).toBe('AUTH [secret], [secret]')
  expect(conceal('at redis://me:p%40ss-word@there:6379/0')).toBe('at [secret]/0')
})
