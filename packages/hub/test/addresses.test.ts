import { describe, expect, it } from 'vitest'
import { Addresses, household, isLoopback, plainAddress } from '../src/addresses.ts'
import { Proxies } from '../src/proxies.ts'

describe('an address', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002:0:0:0:9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ])('%s counts as %s', (address, who) => {
    expect(household(address)).toBe(who)
  })

  it('is of this machine or not', () => {
    expect(['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'].every(isLoopback)).toBe(true)
    expect(['128.0.0.1', '::2', '10.0.0.1', 'unix'].some(isLoopback)).toBe(false)
    expect(plainAddress('::ffff:127.0.0.1')).toBe('127.0.0.1')
  })
})

describe('connections of one address', () => {
  const taken = (addresses: Addresses, address: string, count: number, now: number) =>
    Array.from({ length: count }, () => addresses.take(address, now)).filter(Boolean).length

  it('come as often as may be, after a burst', () => {
    const addresses = new Addresses({ perSecond: 10, burst: 5 })
    expect(taken(addresses, '203.0.113.7', 20, 1_000)).toBe(5)
    expect(addresses.waitMs('203.0.113.7', 1_000)).toBe(100)
    expect(taken(addresses, '203.0.113.7', 20, 1_300)).toBe(3)
    expect(taken(addresses, '203.0.113.7', 20, 60_000)).toBe(5)
  })

  it('take nothing from another, but from those of their /64', () => {
    const addresses = new Addresses({ perSecond: 10, burst: 5 })
    expect(taken(addresses, '2001:db8::1', 20, 0)).toBe(5)
    expect(taken(addresses, '2001:db8::2', 20, 0)).toBe(0)
    expect(taken(addresses, '2001:db8:0:1::1', 20, 0)).toBe(5)
    expect(taken(addresses, '203.0.113.7', 20, 0)).toBe(5)
  })

  it('are forgotten when they no longer count, and when they are too many', () => {
    const addresses = new Addresses({ perSecond: 10, burst: 5 })
    for (let i = 0; i < 1_000; i++) addresses.take(`10.0.${i >> 8}.${i & 255}`, 0)
    expect(addresses.size).toBe(1_000)
    addresses.take('203.0.113.7', 10_000)
    expect(addresses.size).toBe(1)
    for (let i = 0; i < 70_000; i++) addresses.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 10_000)
    expect(addresses.size).toBe(65_536)
  })
})

describe('proxies', () => {
  it('are addresses, ranges and the Unix socket', () => {
    const proxies = new Proxies(['127.0.0.1', '10.1.0.0/16', '2001:db8::/32', 'unix'])
    expect(['127.0.0.1', '10.1.2.3', '2001:db8:7::1', 'unix'].map((peer) => proxies.has(peer))).not.toContain(false)
    expect(['127.0.0.2', '10.2.0.1', '2001:db9::1'].map((peer) => proxies.has(peer))).not.toContain(true)
    expect(new Proxies([]).has('unix')).toBe(false)
  })

  it.each(['localhost', '10.0.0.0/x', '10.0.0.0/33', '2001:db8::/129'])('are not called %s', (name) => {
    expect(() => new Proxies([name])).toThrow()
  })
})
