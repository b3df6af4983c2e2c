import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { beyondCeiling, boundOnly, coversSubject, parseCapabilities, type Verb } from '../src/capabilities.ts'

const rights = (...can: string[]) => parseCapabilities(can, 'bot/eu-1')

describe('each verb allows its own and nothing else', () => {
  const verbs: Record<Verb, { can: string; subject: string; event?: string }> = {
    join: { can: 'join:bots', subject: 'bots' },
    send: { can: 'send:group/bots:player.*', subject: 'group/bots', event: 'player.move' },
    ask: { can: 'ask:client/bot/eu-1:player.*', subject: 'client/bot/eu-1', event: 'player.move' },
    get: { can: 'get:node/*', subject: 'node/a' },
    put: { can: 'put:group/*', subject: 'group/bots' },
    cert: { can: 'cert:edge', subject: 'edge' },
    issue: { can: 'issue:edge', subject: 'edge' },
  }
  const cases = Object.values(verbs).flatMap(({ can }) =>
    Object.entries(verbs).map(([verb, { can: own, subject, event }]) => ({
      can,
      verb: verb as Verb,
      subject,
      event,
      allowed: can === own,
    })),
  )
  test.each(cases)('$can, asked to $verb $subject: $allowed', ({ can, verb, subject, event, allowed }) => {
    expect(rights(can).may(verb, subject, event)).toBe(allowed)
  })
})

describe('subjects and events', () => {
  test.each<[string, Verb, string, string | undefined, boolean]>([
    ['get:node/*', 'get', 'node/a', undefined, true],
    ['get:node/*', 'get', 'node/a/b', undefined, true],
    ['get:node/*', 'get', 'node', undefined, false],
    ['get:node/*', 'get', 'nodes/a', undefined, false],
    ['get:node/*', 'get', 'node-secret/a', undefined, false],
    ['get:node/a', 'get', 'node/a', undefined, true],
    ['get:node/a', 'get', 'node/a/b', undefined, false],
    ['get:*', 'get', 'node-secret/a', undefined, true],
    ['get:*', 'get', 'a', undefined, true],
    ['get:*', 'get', '', undefined, false],
    ['get:*', 'get', 'node/*', undefined, false],
    ['get:*', 'get', 'node//a', undefined, false],
    ['get:*', 'get', 'Node/a', undefined, false],
    ['get:*', 'get', 'a/b/c/d/e/f/g/h/i', undefined, false],
    ['join:*', 'join', 'bots', undefined, true],
    ['join:*', 'join', 'bots/eu', undefined, false],
    ['send:all', 'send', 'all', undefined, true],
    ['send:all', 'send', 'group/all', undefined, false],
    ['send:*', 'send', 'all', undefined, true],
    ['send:*', 'send', 'client/bot/eu-1', 'x', true],
    ['send:*', 'send', 'node/a', undefined, false],
    ['send:client/bot/*', 'send', 'client/bot/eu-1', 'x', true],
    ['send:client/bot/*', 'send', 'client/bots/eu-1', 'x', false],
    ['send:client/*', 'send', 'client/bot/eu-1', 'x', true],
    ['send:group/*', 'send', 'client/bot/eu-1', 'x', false],
    ['send:group/bots', 'send', 'group/bots', 'player.move', true],
    ['send:group/bots', 'send', 'group/bots', undefined, true],
    ['send:group/bots:*', 'send', 'group/bots', undefined, true],
    ['send:group/bots:player.*', 'send', 'group/bots', 'player.move', true],
    ['send:group/bots:player.*', 'send', 'group/bots', 'player.move.done', true],
    ['send:group/bots:player.*', 'send', 'group/bots', 'player', false],
    ['send:group/bots:player.*', 'send', 'group/bots', 'players.move', false],
    ['send:group/bots:player.*', 'send', 'group/bots', 'player.*', false],
    ['send:group/bots:player.*', 'send', 'group/bots', undefined, false],
    ['send:group/bots:player.move', 'send', 'group/bots', 'player.move', true],
    ['send:group/bots:player.move', 'send', 'group/bots', 'player.move.done', false],
    ['ask:group/sidecars:node.stats', 'send', 'group/sidecars', 'node.stats', false],
    ['cert:*', 'cert', 'edge', undefined, true],
    ['fly:moon', 'get', 'moon', undefined, false],
  ])('%s, asked to %s %s %s: %s', (can, verb, subject, event, allowed) => {
    const granted = rights(can)
    expect(granted.may(verb, subject, event)).toBe(allowed)
    expect(granted.may(verb, subject, event), 'the remembered decision').toBe(allowed)
  })

  test('nothing is allowed without a capability', () => {
    expect(rights().may('join', 'bots')).toBe(false)
    expect(rights().watches('node/')).toBe(false)
  })

  test('more questions than are remembered are still answered rightly', () => {
    const granted = rights('get:node/*')
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 2_000; i++) {
        expect(granted.may('get', `node/${i}`)).toBe(true)
        expect(granted.may('get', `nodes/${i}`)).toBe(false)
      }
    }
  })

  test('a subject made to look like a subject with an event is refused', () => {
    const granted = rights('send:group/bots:player.*')
    expect(granted.may('send', 'group/bots', 'player.move')).toBe(true)
    expect(granted.may('send', 'group/bots:player.move')).toBe(false)
    expect(granted.may('send', 'group/bots:player.move', '*')).toBe(false)
  })
})

describe('a certificate reader', () => {
  test('may announce itself and read envelopes of its own service only', () => {
    const granted = rights('cert:edge')
    expect(granted.may('put', 'cert-reader/bot/0123456789abcdef')).toBe(true)
    expect(granted.watches('cert/bot/0123456789abcdef/')).toBe(true)
    expect(granted.may('put', 'cert-reader/sidecar/0123456789abcdef')).toBe(false)
    expect(granted.may('put', 'cert/bot/0123456789abcdef/edge')).toBe(false)
    expect(granted.watches('cert/')).toBe(false)
    expect(granted.may('cert', 'other')).toBe(false)
  })
})

describe('malformed capabilities refuse the token', () => {
  test.each([
    '*',
    '',
    'get',
    'get:',
    ':node/a',
    'GET:node/a',
    'get:/node',
    'get:node/',
    'get:node//a',
    'get:no*',
    'get:*/a',
    'get:node/*/b',
    'get:node/**',
    'get:Node/a',
    'get:node/a:event',
    'get:a/b/c/d/e/f/g/h/i',
    'join:bots/eu',
    'join:bots/*',
    'cert:*.example.com',
    'cert:a/b',
    'send:bots',
    'send:groups/bots',
    'send:group',
    'send:group/a/b',
    'send:group/a/*',
    'send:client/bot',
    'send:all/*',
    'send:client/bot/a/*',
    'send:group/bots:',
    'send:group/bots:a:b',
    'send:group/bots:player*',
    'send:group/bots:*.move',
    'get:node/a\n',
  ])('%j', (text) => {
    expect(() => rights(text)).toThrowError(expect.objectContaining({ code: 'bad_token', field: 'can' }))
  })
})

describe('watching a prefix needs one pattern that covers all of it', () => {
  test.each<[string, string, boolean]>([
    ['get:node/*', 'node/', true],
    ['get:node/*', 'node/a', true],
    ['get:node/*', 'node/a/', true],
    ['get:node/*', 'node', false],
    ['get:node/*', '', false],
    ['get:node/*', 'node-secret/', false],
    ['get:node/*', 'node//', false],
    ['get:node/a', 'node/a', true],
    ['get:node/a', 'node/a/', false],
    ['get:*', '', true],
    ['get:*', 'node/', true],
    ['put:*', 'node/', false],
  ])('%s, watching %j: %s', (can, prefix, allowed) => {
    expect(rights(can).watches(prefix)).toBe(allowed)
  })
})

describe('matching, for any key', () => {
  const segment = fc.stringMatching(/^[a-z0-9._-]{1,8}$/)
  const key = fc.array(segment, { minLength: 1, maxLength: 5 })

  test('a star covers exactly the keys with one or more segments in its place', () => {
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 4 }), key, (stem, other) => {
        const granted = rights(`get:${[...stem, '*'].join('/')}`)
        const expected = other.length > stem.length && stem.every((part, index) => part === other[index])
        expect(granted.may('get', other.join('/'))).toBe(expected)
        expect(granted.may('get', [...stem, ...other].slice(0, 8).join('/'))).toBe(true)
        if (stem.length > 0) expect(granted.may('get', stem.join('/'))).toBe(false)
      }),
    )
  })

  test('a watch that is allowed shows no key that is not', () => {
    const pattern = fc.oneof(
      key,
      fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }).map((stem) => [...stem, '*']),
    )
    const short = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 3 }), short, short, (patterns, prefix, rest) => {
        const granted = rights(...patterns.map((parts) => `get:${parts.join('/')}`))
        if (!granted.watches(`${prefix.join('/')}/`)) return
        expect(granted.may('get', [...prefix, ...rest].join('/'))).toBe(true)
      }),
    )
  })

  test('any text is a capability or is refused with a code', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `get:${text}`),
          fc.string().map((text) => `send:group/${text}`),
        ),
        (text) => {
          try {
            rights(text).may('get', text)
          } catch (error) {
            expect(error).toMatchObject({ code: 'bad_token' })
          }
        },
      ),
    )
  })
})

describe('ceilings', () => {
  test.each<[string, string[], boolean]>([
    ['put:node/*', ['put:node/*'], true],
    ['put:node/fra/*', ['put:node/*'], true],
    ['put:node/a', ['put:node/*'], true],
    ['put:*', ['put:node/*'], false],
    ['put:node-secret/*', ['put:node/*'], false],
    ['get:node/a', ['put:node/*'], false],
    ['put:node/*', ['put:node/a'], false],
    ['ask:group/fleet:enrol', ['ask:group/fleet:enrol'], true],
    ['ask:group/fleet', ['ask:group/fleet:enrol'], false],
    ['ask:group/fleet:node.*', ['ask:group/fleet:*'], true],
    ['ask:group/fleet:node.*', ['ask:group/fleet:node.stats'], false],
    ['cert:edge', ['put:cert-reader/bot/*', 'get:cert/bot/*'], false],
    ['issue:edge', ['*'], true],
    ['get:*', [], false],
  ])('%s under %j: %s', (can, ceiling, allowed) => {
    expect(beyondCeiling([can], ceiling)).toBe(allowed ? undefined : can)
  })

  test('a pattern of subjects covers like a pattern of keys', () => {
    expect(coversSubject('sidecar/*', 'sidecar/fra1-07')).toBe(true)
    expect(coversSubject('sidecar/*', 'sidecars/fra1-07')).toBe(false)
    expect(coversSubject('sidecar/a', 'sidecar/b')).toBe(false)
    expect(coversSubject('*', 'bot/eu-1')).toBe(true)
    expect(coversSubject('si*', 'sidecar/a')).toBe(false)
  })
})

test.each([
  ['cert:edge', true],
  ['issue:edge', true],
  ['get:node-secret/*', true],
  ['put:node-secret/a', true],
  ['get:*', true],
  ['put:*', true],
  ['get:node-secret', true],
  ['get:node/*', false],
  ['send:*', false],
  ['join:a-secret', false],
] as const)('%s is for bound tokens only: %s', (can, bound) => {
  expect(boundOnly([can]) === can).toBe(bound)
})

test('rights are equal whatever the order and repetition of their capabilities', () => {
  expect(rights('get:a', 'join:b', 'get:a').equals(rights('join:b', 'get:a'))).toBe(true)
  expect(rights('send:all:*').equals(rights('send:all'))).toBe(true)
  expect(rights('get:a').equals(rights('get:a/*'))).toBe(false)
})
