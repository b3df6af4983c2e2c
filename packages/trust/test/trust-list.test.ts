import { expect, test } from 'vitest'
import { generateKey } from '../src/keys.ts'
import { seconds, signTrustList, type TrustList, verifyTrustList } from '../src/trust-list.ts'
import { aud, createWorld, expectRefusal, withPayload } from './world.ts'

const root = await generateKey()
const issuer = { kid: 'op-1', x: (await generateKey()).publicKey.x, sub: '*', can: ['*'] }
const list: TrustList = { aud, seq: 7, dev: true, issuers: [issuer], revoked: { ids: ['a'], subs: ['bot/*'] } }

test('the list that the root signed comes back', async () => {
  expect(await verifyTrustList(await signTrustList(root.privateKey, list), root.publicKey, { aud })).toEqual(list)
})

test('another root, another audience, a changed list and a token are refused', async () => {
  const jws = await signTrustList(root.privateKey, list)
  const other = await generateKey()
  await expectRefusal(verifyTrustList(jws, other.publicKey, { aud }), 'bad_trust_list', /signature/)
  await expectRefusal(verifyTrustList(jws, root.publicKey, { aud: 'damon:prod' }), 'bad_trust_list', /audience/)
  const changed = withPayload(jws, (payload) => ({ ...payload, seq: 8 }))
  await expectRefusal(verifyTrustList(changed, root.publicKey, { aud }), 'bad_trust_list', /signature/)
  const { token } = await createWorld()
  await expectRefusal(verifyTrustList(await token(), root.publicKey, { aud }), 'bad_trust_list', /type/)
})

test.each<[string, object]>([
  ['no issuer', { issuers: [] }],
  ['two issuers of one name', { issuers: [issuer, issuer] }],
  ['a malformed ceiling', { issuers: [{ ...issuer, can: ['get:no*'] }] }],
  ['a malformed subject', { issuers: [{ ...issuer, sub: 'bot*' }] }],
  ['a short key', { issuers: [{ ...issuer, x: 'AAAA' }] }],
  ['a time without unit', { issuers: [{ ...issuer, maxTtl: '30' }] }],
  ['a negative number', { seq: -1 }],
])('a list with %s cannot be signed', async (_name, changes) => {
  const attempt = async () => signTrustList(root.privateKey, { ...list, ...changes })
  await expectRefusal(attempt(), 'bad_trust_list')
})

test('durations', () => {
  expect([seconds('90s'), seconds('15m'), seconds('2h'), seconds('30d')]).toEqual([90, 900, 7_200, 2_592_000])
})
