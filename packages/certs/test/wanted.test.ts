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
  expect(read).toThrow(/certificates\.a\.issuer: names issuer "le"/)
})

test('broken YAML is a coded error', () => {
  expect(() => readWanted('a: [1')).toThrow(expect.objectContaining({ code: 'bad_certificates_file' }))
  expect(() => readWanted('')).toThrow(expect.objectContaining({ code: 'bad_certificates_file' }))
})
