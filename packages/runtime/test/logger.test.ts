import { expect, it } from 'vitest'
import { describeError } from '../src/logger.ts'

it('logs an error with its causes, but nothing else that a library hung on it', () => {
  const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED', config: { headers: { auth: 'horse' } } })
  const error = new Error('cannot connect', { cause: refused })
  const described = describeError(error)
  expect(described).toMatchObject({
    type: 'Error',
    message: 'cannot connect',
    cause: { code: 'ECONNREFUSED', message: 'refused' },
  })
  expect(JSON.stringify(described)).not.toContain('horse')
})

it('logs all errors of an aggregate, and a cause that is its own cause', () => {
  const circular = new Error('round')
  circular.cause = circular
  const described = describeError(new AggregateError([new Error('one'), circular], 'both'))
  expect(described).toMatchObject({ errors: [{ message: 'one' }, { message: 'round', cause: { message: 'round' } }] })
})

it('logs what was thrown without being an error as text', () => {
  expect(describeError({ token: 'horse' })).toBe('[object Object]')
  expect(describeError('no')).toBe('no')
})
