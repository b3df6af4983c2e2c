import { generateKey } from '@damon/trust/keys'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { prove } from '@damon/trust/proof'
import { mintToken } from '@damon/trust/token'
import { signTrustList } from '@damon/trust/trust-list'
import { beforeAll, describe, expect, it } from 'vitest'
import { Identity } from '../src/identity.ts'

const aud = 'damon:test'
const nonce = 'a nonce of this connection'
let identity: Identity
let hello: (host: string) => Promise<unknown>
let renew: (sub: string) => ReturnType<Identity['renew']>

beforeAll(async () => {
  const [root, issuer, own] = await Promise.all([generateKey(), generateKey(), generateKey()])
  const issuers = [{ kid: 'op-1', x: issuer.publicKey.x, sub: '*', can: ['*'] }]
  const trustList = await signTrustList(root.privateKey, { aud, seq: 1, issuers })
  const now = Date.now()
  const authority = await createAuthority({ name: 'A test', now, days: 2 })
  const names = ['localhost', 'hub.test', '*.hub.test', '127.0.0.1', '::1']
  const { chain } = await issueLeaf(authority, { names, now, days: 1 })
  identity = await Identity.load({ root: root.publicKey, trustList, aud, certificate: chain, names: ['Alias.Example'] })
  const iat = Math.floor(now / 1000)
  const mint = (sub: string) =>
    mintToken(
      { kid: 'op-1', key: issuer.privateKey },
      { aud, sub, jti: 't-1', iat, exp: iat + 60, can: ['join:*'], cnf: { jwk: own.publicKey } },
    )
  hello = async (host) => {
    const token = await mint('bot/a')
    return identity.hello(token, await prove(own.privateKey, { nonce, host, jti: 't-1' }), nonce)
  }
  renew = async (sub) => identity.renew(await mint(sub))
})

describe('a proof', () => {
  it.each(['localhost', 'hub.test', 'a.hub.test', 'HUB.test', '127.0.0.1', '::1', 'alias.example'])(
    'made for %s is for this hub',
    async (host) => {
      expect(await hello(host)).toMatchObject({ subject: 'bot/a', jti: 't-1' })
    },
  )

  it.each(['evil.example', 'xhub.test', 'a.b.hub.test', 'hub.test.evil.example', '127.0.0.2', ''])(
    'made for "%s" is not',
    async (host) => {
      await expect(hello(host)).rejects.toMatchObject({ code: 'bad_proof' })
    },
  )
})

it('a renewed token tells the same key, and whatever subject it has', async () => {
  const [first, again, other] = await Promise.all([hello('localhost'), renew('bot/a'), renew('bot/b')])
  expect(again).toMatchObject({ subject: 'bot/a', key: (first as { key: string }).key })
  expect(other.subject).toBe('bot/b')
})
