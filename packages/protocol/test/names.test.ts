import { expect, test } from 'vitest'
import { isAddress, isEvent, isKey, isPrefix, isSegment, isSession, isUnder } from '../src/names.ts'

const long = 'x'.repeat(64)

test.each([
  ['a', true],
  ['eu-1', true],
  ['a.b_c-9', true],
  [long, true],
  [`${long}x`, false],
  ['', false],
  ['A', false],
  ['a/b', false],
  ['a b', false],
  ['*', false],
  ['ä', false],
  ['a\n', false],
])('as a segment or an event %j is %j', (text, expected) => {
  expect(isSegment(text)).toBe(expected)
  expect(isEvent(text)).toBe(expected)
})

test.each([
  ['node', true],
  ['node/a', true],
  ['1/2/3/4/5/6/7/8', true],
  ['1/2/3/4/5/6/7/8/9', false],
  [[long, long, long, 'x'.repeat(60)].join('/'), true],
  [[long, long, long, 'x'.repeat(61)].join('/'), false],
  ['node/', false],
  ['/node', false],
  ['node//a', false],
  ['node/*', false],
  ['', false],
])('as a key %j is %j', (text, expected) => {
  expect(isKey(text)).toBe(expected)
})

test.each([
  ['', true],
  ['node', true],
  ['node/', true],
  ['node/a', true],
  ['/', false],
  ['node//', false],
  ['node/*', false],
])('as a prefix %j is %j', (text, expected) => {
  expect(isPrefix(text)).toBe(expected)
})

test.each([
  ['', 'node/a', true],
  ['node/', 'node/a', true],
  ['node/', 'node/a/b', true],
  ['node/a', 'node/a', true],
  ['node/a', 'node/ab', false],
  ['node/a', 'node/a/b', false],
  ['node/', 'nodes/a', false],
  ['node/', 'node', false],
])('under %j lies %j: %j', (prefix, key, expected) => {
  expect(isUnder(prefix, key)).toBe(expected)
})

test.each([
  ['all', true],
  ['group/bots', true],
  ['client/bot/eu-1', true],
  ['all/bots', false],
  ['group', false],
  ['group/', false],
  ['group/a/b', false],
  ['client/bot', false],
  ['client/bot/', false],
  ['client/bot/a/b', false],
  ['session/0123456789abcdef', false],
  ['group/A', false],
  ['', false],
])('as an address %j is %j', (text, expected) => {
  expect(isAddress(text)).toBe(expected)
})

test.each([
  ['0123456789abcdef', true],
  ['0123456789ABCDEF', false],
  ['0123456789abcde', false],
  ['0123456789abcdef0', false],
  ['0123456789abcdeg', false],
  ['0123456789abcdef\n', false],
])('as a session %j is %j', (text, expected) => {
  expect(isSession(text)).toBe(expected)
})
