import { expect, test } from 'vitest'
import { generateKey } from '../src/keys.ts'
import { prove, verifyProof } from '../src/proof.ts'
import { createWorld, expectRefusal } from './world.ts'

const world = await createWorld()
const identity = await generateKey()
const claims = world.claims({ cnf: { jwk: identity.publicKey } })
const nonce = 'challenge-of-this-socket'
const isHost = (host: string) => host === 'hub.damon.example' || host === '::1'
const honest = { nonce, host: 'hub.damon.example', jti: claims.jti }

test('the holder of the key is believed', async () => {
  await verifyProof(await prove(identity.privateKey, honest), claims, { nonce, isHost })
  await verifyProof(await prove(identity.privateKey, { ...honest, host: 'HUB.damon.example' }), claims, {
    nonce,
    isHost,
  })
  await verifyProof(await prove(identity.privateKey, { ...honest, host: '[::1]' }), claims, { nonce, isHost })
})

test('a token with a key is nothing without its proof', async () => {
  await expectRefusal(verifyProof(undefined, claims, { nonce, isHost }), 'proof_required')
  await expectRefusal(verifyProof('', claims, { nonce, isHost }), 'proof_required')
})

test('a bearer token needs no proof', async () => {
  await expect(verifyProof(undefined, world.claims(), { nonce, isHost })).resolves.toBeUndefined()
})

test.each([
  ['of another challenge', { nonce: 'challenge-of-an-old-socket' }, /challenge/],
  ['for another host', { host: 'evil.example' }, /host/],
  ['for another token', { jti: 'token-2' }, /token/],
])('a proof %s is refused', async (_name, changes, detail) => {
  const proof = await prove(identity.privateKey, { ...honest, ...changes })
  await expectRefusal(verifyProof(proof, claims, { nonce, isHost }), 'bad_proof', detail)
})

test('a proof by another key is refused', async () => {
  const other = await generateKey()
  await expectRefusal(
    verifyProof(await prove(other.privateKey, honest), claims, { nonce, isHost }),
    'bad_proof',
    /signature/,
  )
})

test('a token in place of a proof, a damaged one and an oversized one are refused', async () => {
  const proof = await prove(identity.privateKey, honest)
  for (const text of [await world.token(), proof.slice(0, -4), 'a.b.c', 'x'.repeat(2_000)]) {
    await expectRefusal(verifyProof(text, claims, { nonce, isHost }), 'bad_proof')
  }
})
