import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Checks, type Health, startHealth } from '../src/health.ts'
import { createRegistry } from '../src/metrics.ts'

describe('the health server', () => {
  const checks: Checks = new Map()
  const registry = createRegistry('probe')
  let live = true
  let health: Health

  beforeEach(async () => {
    checks.clear()
    live = true
    health = await startHealth({
      port: 0,
      checks,
      metrics: () => registry.metrics(),
      isLive: () => live,
      conceal: (text) => text.replace('horse', '[secret]'),
    })
  })

  afterEach(() => health[Symbol.asyncDispose]())

  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`${health.url}${path}`, { method })
    const { status, headers } = response
    return { status, type: headers.get('content-type'), allow: headers.get('allow'), body: await response.text() }
  }

  it('listens on loopback', () => {
    expect(health.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  })

  it('is live until it says otherwise', async () => {
    expect(await get('/live')).toMatchObject({ status: 200, body: '{"live":true}\n' })
    live = false
    expect(await get('/live')).toMatchObject({ status: 503, body: '{"live":false}\n' })
  })

  it('is ready while no check fails', async () => {
    checks.set('redis', () => undefined)
    expect(await get('/ready')).toMatchObject({ status: 200, type: 'application/json', body: '{"ready":true}\n' })
  })

  it('names the failing checks, however they fail', async () => {
    checks.set('redis', () => 'not connected')
    checks.set('hub', async () => 'no hub for horse')
    checks.set('disk', () => {
      throw new Error('full')
    })
    checks.set('well', async () => undefined)
    const { status, body } = await get('/ready')
    expect(status).toBe(503)
    expect(JSON.parse(body)).toEqual({
      ready: false,
      failing: { redis: 'not connected', hub: 'no hub for [secret]', disk: 'full' },
    })
  })

  it('does not wait for a check that never answers', async () => {
    checks.set('stuck', () => new Promise(() => {}))
    expect(await get('/ready')).toMatchObject({ status: 503, body: expect.stringContaining('no answer within') })
  })

  it('serves metrics in the format of Prometheus', async () => {
    const { status, type, body } = await get('/metrics?name=x')
    expect(status).toBe(200)
    expect(type).toContain('version=0.0.4')
    expect(body).toContain('process_cpu_seconds_total{service="probe"}')
  })

  it('answers HEAD without a body, 405 to other methods and 404 to other paths', async () => {
    expect(await get('/live', 'HEAD')).toMatchObject({ status: 200, body: '' })
    expect(await get('/live', 'POST')).toMatchObject({ status: 405, allow: 'GET, HEAD' })
    expect(await get('/__proto__')).toMatchObject({ status: 404 })
  })

  it('says why it cannot listen', async () => {
    const port = Number(new URL(health.url).port)
    await expect(startHealth({ port, checks, metrics: async () => '' })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})
