import { expect, test } from 'vitest'
import type { Nameservers } from '../src/nameservers.ts'
import { type TxtValue, untilPublished } from '../src/propagation.ts'
import { ManualClock } from './manual-clock.ts'

const zone = 'example.com'
const name = '_acme-challenge.example.com'
const values: TxtValue[] = [
  { name, value: 'one' },
  { name, value: 'two' },
]
const timing = { intervalMs: 2_000, deadlineMs: 60_000, rounds: 3 }
const signal = new AbortController().signal

/** Servers whose answer to each question is looked up in a table that the test changes; an Error is no answer. */
function servers(table: Record<string, Record<string, string[] | Error>>) {
  const asked: string[] = []
  const port: Nameservers = {
    of: async () =>
      Object.entries(table).map(([server, addresses]) => ({ name: server, addresses: Object.keys(addresses) })),
    cname: async () => undefined,
    async txt(address) {
      asked.push(address)
      const answer = Object.values(table).find((addresses) => address in addresses)![address]!
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  return { port, asked }
}

/** Moves the clock on whenever everybody sleeps. */
async function run(nameservers: Nameservers, clock: ManualClock, each: () => void = () => {}): Promise<number> {
  let rounds = 0
  const done = untilPublished({ nameservers, zone, values, clock, timing, signal }).then(
    () => 'done' as const,
    (error) => error,
  )
  for (;;) {
    const next = await Promise.race([done, clock.slept])
    if (next === 'done') return rounds
    if (next instanceof Error) throw next
    rounds += 1
    each()
    clock.set(clock.alarms[0]!)
  }
}

test('every server, on every address, has to agree several times in a row', async () => {
  const { port, asked } = servers({
    ns1: { '192.0.2.1': ['one', 'two'], '2001:db8::1': ['two', 'one', 'other'] },
    ns2: { '192.0.2.2': ['one', 'two'] },
  })
  expect(await run(port, new ManualClock(0))).toBe(2)
  expect(asked.filter((address) => address === '2001:db8::1')).toHaveLength(3)
})

test('a stale answer in between starts the count anew', async () => {
  const table = { ns1: { '192.0.2.1': ['one', 'two'] as string[] } }
  let rounds = 0
  await run(servers(table).port, new ManualClock(0), () => {
    rounds += 1
    table.ns1['192.0.2.1'] = rounds === 2 ? ['one'] : ['one', 'two']
  })
  expect(rounds).toBe(5)
})

test('a server that never agrees is named when time is up', async () => {
  const { port } = servers({ ns1: { '192.0.2.1': ['one', 'two'] }, ns2: { '192.0.2.2': ['old'] } })
  await expect(run(port, new ManualClock(0))).rejects.toMatchObject({
    code: 'not_propagated',
    message: expect.stringContaining(`ns2 (192.0.2.2) lacks 2 of the TXT values of ${name}`),
  })
})

test('an address that does not answer is forgiven while the server answers on another, not else', async () => {
  const silent = Object.assign(new Error('silent'), { code: 'ETIMEOUT' })
  const forgiven = servers({ ns1: { '192.0.2.1': ['one', 'two'], '2001:db8::1': silent } })
  expect(await run(forgiven.port, new ManualClock(0))).toBe(2)
  const alone = servers({ ns1: { '192.0.2.1': ['one', 'two'] }, ns2: { '2001:db8::2': silent } })
  await expect(run(alone.port, new ManualClock(0))).rejects.toThrow('ns2 (2001:db8::2) does not answer (ETIMEOUT)')
})

test('a zone without name servers is said to have none', async () => {
  await expect(run(servers({}).port, new ManualClock(0))).rejects.toThrow('it has no name servers')
})
