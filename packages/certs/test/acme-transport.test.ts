import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as acme from 'acme-client'
import { expect, test } from 'vitest'
import { installAcmeTransport, withSignal } from '../src/acme-transport.ts'
import { readRetryAfter } from '../src/retry-after.ts'

installAcmeTransport(Date.now)
const never = new AbortController().signal

/** A server whose directory answers as told, and the client that asks it. */
async function authority(answer: RequestListener) {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const directoryUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dir`
  const accountKey = await acme.crypto.createPrivateEcdsaKey()
  return {
    client: new acme.Client({ directoryUrl, accountKey }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('an authority that cannot be reached is a coded error with its cause', async () => {
  const { client, ...server } = await authority(() => {})
  await server[Symbol.asyncDispose]()
  const error = await withSignal(never, () => client.getTermsOfServiceUrl()).catch((reason) => reason)
  expect(error).toMatchObject({ code: 'ca_unreachable', retry: true, cause: { code: 'ECONNREFUSED' } })
})

test('a long Retry-After is told, not slept through', async () => {
  let requests = 0
  await using server = await authority((_, response) => {
    requests += 1
    response.writeHead(429, { 'retry-after': '122400', 'content-type': 'application/problem+json' })
    response.end(JSON.stringify({ type: 'urn:ietf:params:acme:error:rateLimited', detail: 'too many certificates' }))
  })
  const error = await withSignal(never, () => server.client.getTermsOfServiceUrl()).catch((reason) => reason)
  expect(error).toMatchObject({ code: 'ca_rate_limited', message: expect.stringContaining('too many certificates') })
  expect(error.retryAt).toBeGreaterThan(Date.now() + 122_000_000)
  expect(requests).toBe(1)
})

test('a server error and a refusal are told apart, with type, detail and sub-problems', async () => {
  let status = 503
  const subproblems = [{ detail: 'no', identifier: { type: 'dns', value: 'a.test' } }]
  await using server = await authority((_, response) => {
    response.writeHead(status, { 'content-type': 'application/problem+json' })
    response.end(JSON.stringify({ type: 'urn:ietf:params:acme:error:rejectedIdentifier', detail: 'bad', subproblems }))
  })
  const ask = () => withSignal(never, () => server.client.getTermsOfServiceUrl())
  await expect(ask()).rejects.toMatchObject({ code: 'ca_unavailable', retry: true })
  status = 400
  const message = expect.stringContaining('/dir answered 400 rejectedIdentifier: bad a.test: no')
  await expect(ask()).rejects.toMatchObject({
    code: 'ca_refused_name',
    retry: false,
    message,
    kind: 'rejectedIdentifier',
  })
})

test('an aborted attempt lets go of a request that hangs', async () => {
  const controller = new AbortController()
  await using server = await authority(() => controller.abort(new Error('stopping')))
  await expect(withSignal(controller.signal, () => server.client.getTermsOfServiceUrl())).rejects.toThrow('stopping')
})

test('Retry-After is read in both forms and kept within a week', () => {
  const now = Date.parse('2026-11-23T00:00:00Z')
  expect(readRetryAfter('60', now)).toBe(now + 60_000)
  expect(readRetryAfter('Mon, 23 Nov 2026 01:00:00 GMT', now)).toBe(now + 3_600_000)
  expect(readRetryAfter('Mon, 23 Nov 2020 01:00:00 GMT', now)).toBe(now)
  expect(readRetryAfter('99999999999', now)).toBe(now + 7 * 86_400_000)
  expect(readRetryAfter('soon', now)).toBeUndefined()
  expect(readRetryAfter(undefined, now)).toBeUndefined()
})
