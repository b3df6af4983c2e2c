import { expect, test } from 'vitest'
import { readWanted } from '../src/wanted.ts'

test('names come out in lower-case ASCII, wildcards and international ones too', () => {
  const wanted = readWanted(`
issuers: {local: {type: local}}
certificates:
  edge: {issuer: local, names: [Example.TEST, '*.bücher.test']}
`)
  expect(wanted.certificates.edge?.names).toEqual(['example.test', '*.xn--bcher-kva.test'])
  expect(wanted.issuers.local).toEqual({ type: 'local', days: 30 })
})

test('every problem is told at once, with its place', () => {
  const read = () =>
    readWanted(`
issuers:
  le: {type: acme, directory: 'http://ca.test/dir', termsAgreed: false}
certificates:
  edge: {issuer: le, names: []}
  Upper: {issuer: le, names: [a.test]}
  other: {issuer: le, names: ['a b.test', x.*.test, c.test, c.test], colour: red}
`)
  expect(read).toThrow(/issuers\.le\.directory: must be an https URL/)
  expect(read).toThrow(/issuers\.le\.termsAgreed: must be true/)
  expect(read).toThrow(/certificates\.edge\.names: needs at least one name/)
  expect(read).toThrow(/certificates\.Upper: /)
  expect(read).toThrow(/certificates\.other\.names\.0: "a b\.test" is no DNS name/)
  expect(read).toThrow(/certificates\.other\.names\.1: "x\.\*\.test" is no DNS name/)
  expect(read).toThrow(/certificates\.other: .*colour/)
})

test('an issuer that is not there is named', () => {
  const read = () => readWanted('{"issuers": {}, "certificates": {"a": {"issuer": "le", "names": ["a.test"]}}}')
  expect(read).toThrow(/certificates\.a: names issuer "le"/)
})

test('broken YAML is a coded error', () => {
  expect(() => readWanted('a: [1')).toThrow(expect.objectContaining({ code: 'bad_certificates_file' }))
  expect(() => readWanted('')).toThrow(expect.objectContaining({ code: 'bad_certificates_file' }))
})

test('what is not said is P-256, twelve hours until the next issuer, and the one that is named', () => {
  const { certificates } = readWanted(`
issuers: {a: {type: local}, b: {type: local}}
certificates:
  one: {issuer: a, names: [a.test]}
  two: {issuers: [b, a], fallbackAfter: 90m, names: [a.test]}
`)
  expect(certificates.one).toMatchObject({ issuers: ['a'], keyType: 'p256', fallbackAfter: 12 * 3_600_000 })
  expect(certificates.two).toMatchObject({ issuers: ['b', 'a'], fallbackAfter: 90 * 60_000 })
})

test('what only shows between the parts is told with the rest', () => {
  const read = () =>
    readWanted(`
issuers:
  le: {type: acme, directory: 'https://ca.test/dir', termsAgreed: true}
  own: {type: local}
certificates:
  a: {issuer: own, names: [a.test], keyType: rsa2048, profile: shortlived}
  b: {issuer: le, names: [192.0.2.1]}
  c: {issuers: [le, own, gone], names: [c.test], keyType: dsa, fallbackAfter: soon}
  d: {names: [d.test]}
  e: {issuer: le, issuers: [le], names: [e.test]}
  f: {issuers: [le, le], names: ['*.192.0.2.1']}
`)
  for (const line of [
    /certificates\.a\.keyType: own is a local issuer, which makes p256 only/,
    /certificates\.a\.profile: own is a local issuer, which has no profiles/,
    /certificates\.b\.names: 192\.0\.2\.1 is an address, which DNS cannot validate/,
    /certificates\.c: names issuer "gone"/,
    /certificates\.c\.keyType: /,
    /certificates\.c\.fallbackAfter: must be a span of time/,
    /certificates\.d: needs either issuer or issuers/,
    /certificates\.e: needs either issuer or issuers/,
    /certificates\.f\.names\.0: "\*\.192\.0\.2\.1" is no DNS name/,
  ]) {
    expect(read).toThrow(line)
  }
})
