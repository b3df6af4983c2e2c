import type { Answer } from '@damon/client/answer'
import { connect } from '@damon/client/connect'
import type { Hub, HubOptions } from '@damon/client/hub'
import type { RecordChange, Watch } from '@damon/client/watch'
import { eventually } from '@damon/testkit/eventually'
import { type StallingProxy, startProxy } from '@damon/testkit/stalling-proxy'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { House } from '../src/house.ts'

/** A running product to take the ways through. */
export interface Place extends AsyncDisposable {
  house: House
  /** Of each hub; their workers share one bus. */
  urls: string[]
}

/** What the tests run the hub with: short enough for tests, long enough for a busy machine. */
export const heartbeat = { HUB_HEARTBEAT_MS: '1000', HUB_LEASE_GRACE_MS: '2500' }

const rights = [
  'join:*',
  ...['all', 'group/*', 'client/*'].flatMap((to) => [`send:${to}`, `ask:${to}`]),
  'get:*',
  'put:thing/*',
]

/** The ways that a message, a request and a record take, and a line that dies silently: the same on every bus. */
export function waysContract(openPlace: () => Promise<Place>): void {
  let place: Place
  const open: AsyncDisposable[] = []
  let count = 0
  /** What handlers that must not answer wait for: the end of their test. */
  let ends = Promise.withResolvers<void>()

  beforeAll(async () => {
    place = await openPlace()
  })
  afterAll(async () => {
    await place?.[Symbol.asyncDispose]()
  })
  afterEach(async () => {
    ends.resolve()
    ends = Promise.withResolvers()
    await Promise.all(open.splice(0).map((resource) => resource[Symbol.asyncDispose]()))
  })

  async function client(options: HubOptions & { url?: string; sub?: string } = {}): Promise<Hub> {
    const url = options.url ?? place.urls[count % place.urls.length] ?? ''
    const credential = await place.house.credential(url, options.sub ?? `bot/c${++count}`, rights)
    const hub = await connect(credential, { backoff: { baseMs: 20, maxMs: 200 }, ...options })
    open.push(hub)
    return hub
  }

  /** The worker that holds a client's connection: its process, as the hub tells it. */
  async function workerOf(hub: Hub): Promise<number> {
    const [service] = await eventually(async () => {
      const records = await hub.list(`service/${hub.subject}/`)
      const own = records.filter(({ key }) => key.endsWith(`/${hub.session}`))
      expect(own).toHaveLength(1)
      return own
    })
    return (service!.value as { worker: number }).worker
  }

  async function processes(hub: Hub): Promise<Map<number, number>> {
    const answers = await hub.group('hubs').request<{ origin: number; pid: number }>('hub.status', null)
    return new Map(answers.flatMap(({ value }) => (value ? [[value.origin, value.pid]] : [])))
  }

  /** Clients of which each is held by another worker, as many as asked. */
  async function apart(number: number, options: HubOptions = {}): Promise<Hub[]> {
    const found = new Map<number, Hub>()
    for (let tries = 0; found.size < number && tries < 40; tries++) {
      const hub = await client(options)
      const worker = await workerOf(hub)
      if (found.has(worker)) await hub.close()
      else found.set(worker, hub)
    }
    expect(found.size).toBe(number)
    return [...found.values()]
  }

  function heard(hub: Hub, event: string): unknown[] {
    const values: unknown[] = []
    hub.receive(event, (value) => values.push(value))
    return values
  }

  function follow(watch: Watch): RecordChange[] {
    const changes: RecordChange[] = []
    watch.on('change', (change) => changes.push(change))
    return changes
  }

  describe('a message', () => {
    it('reaches a group, one client, one member of a group and all, on whatever worker', async () => {
      const [one, two] = (await apart(2)) as [Hub, Hub]
      const group = `g${++count}`
      await Promise.all([one.join(group), two.join(group)])
      const got = [heard(one, 'note'), heard(two, 'note')]
      await one.group(group).send('note', 'to the group')
      await one.client(...(two.subject.split('/') as [string, string])).send('note', 'to two')
      await one.all().send('note', 'to all')
      await eventually(() => {
        expect(got[0]).toEqual(['to the group', 'to all'])
        expect(got[1]).toEqual(['to the group', 'to two', 'to all'])
      })
      for (let i = 0; i < 20; i++) await one.any(group).send('note', i)
      await eventually(() =>
        expect([...(got[0] ?? []), ...(got[1] ?? [])].filter((value) => typeof value === 'number')).toHaveLength(20),
      )
    })

    it('names its sender, which nobody can choose', async () => {
      const [one, two] = (await apart(2)) as [Hub, Hub]
      const from: string[] = []
      two.receive('who', (_, message) => from.push(`${message.from} ${message.session}`))
      await one.client(...(two.subject.split('/') as [string, string])).send('who')
      await eventually(() => expect(from).toEqual([`${one.subject} ${one.session}`]))
    })

    it('keeps the order of its sender, per destination and for those who are in both', async () => {
      const [one, two] = (await apart(2)) as [Hub, Hub]
      const near = await client({ url: place.urls[0] ?? '' })
      const groups = [`g${++count}`, `g${++count}`]
      for (const hub of [one, two, near]) for (const group of groups) await hub.join(group)
      const got = [one, two, near].map((hub) => heard(hub, 'n'))
      const sent = Array.from({ length: 400 }, (_, i) => i)
      await Promise.all(sent.map((i) => one.group(groups[i % 2] ?? '').send('n', i)))
      for (const values of got) await eventually(() => expect(values).toEqual(sent))
    })

    it('passes between the two codecs, text and bytes alike', async () => {
      const binary = await client({ codec: 'binary' })
      const json = await client({ codec: 'json' })
      const got = [heard(binary, 'x'), heard(json, 'x')]
      const values = ['plain', 'ünï"\\\u0000☃', { deep: [1, null, 'x'] }, new Uint8Array([0, 255, 128, 10])]
      for (const [from, to] of [
        [binary, json],
        [json, binary],
      ] as const)
        for (const value of values) await from.client(...(to.subject.split('/') as [string, string])).send('x', value)
      for (const list of got)
        await eventually(() =>
          expect(list.map((value) => (value instanceof Uint8Array ? [...value] : value))).toEqual([
            ...values.slice(0, 3),
            [0, 255, 128, 10],
          ]),
        )
    })

    it('to one member of an empty group is refused, to the whole of it is not', async () => {
      const hub = await client()
      await expect(hub.any('nobody-here').send('x')).rejects.toMatchObject({ code: 'no_receiver' })
      await hub.group('nobody-here').send('x')
    })

    it('that was acknowledged is delivered once and in order though its worker is killed, and the hub heals', async () => {
      const [sender, receiver] = (await apart(2)) as [Hub, Hub]
      const group = `g${++count}`
      await receiver.join(group)
      const got = heard(receiver, 'n') as number[]
      const receivers: string[] = []
      receiver.on('state', ({ state }) => receivers.push(state))
      const pid = (await processes(sender)).get(await workerOf(sender)) as number
      const safe: number[] = []
      const outcomes: Promise<void>[] = []
      for (let i = 0; i < 2_000; i++) {
        if (i === 1_000) {
          await eventually(() => expect(safe.length).toBeGreaterThan(100))
          process.kill(pid, 'SIGKILL')
        }
        outcomes.push(
          sender
            .group(group)
            .send('n', i)
            .then(
              () => void safe.push(i),
              (error) => expect(['unknown_outcome', 'unavailable']).toContain(error.code),
            ),
        )
      }
      await Promise.all(outcomes)
      expect(sender.state).toBe('connected')
      expect(safe).toContain(1_999)
      await eventually(() => expect(got).toEqual(expect.arrayContaining(safe)))
      expect(got).toEqual([...new Set(got)].sort((a, b) => a - b))
      expect(receivers).toEqual([])
      await eventually(async () => expect([...(await processes(receiver)).values()]).not.toContain(pid))
      await eventually(async () => expect((await processes(receiver)).size).toBe(2 * place.urls.length))
    })
  })

  describe('a request', () => {
    const byClient = (answers: Answer[]) =>
      Object.fromEntries(
        answers.map(({ service, client, verdict, value, error }) => [
          `${service}/${client}`,
          { verdict, value, code: error?.code },
        ]),
      )

    it('gets one verdict from each member, on whatever worker, and settles with the last', async () => {
      const [asker, ok, fails] = (await apart(2)).concat(await client()) as [Hub, Hub, Hub]
      const silent = await client()
      const without = await client()
      const group = `g${++count}`
      for (const hub of [ok, fails, silent, without]) await hub.join(group)
      ok.handle('sum', (value) => (value as number[]).reduce((a, b) => a + b))
      fails.handle('sum', () => {
        throw Object.assign(new Error('no sums today'), { code: 'closed_today' })
      })
      silent.handle('sum', () => ends.promise)
      const answers = await asker.group(group).request('sum', [1, 2, 3], { deadline: 1_500 })
      expect(byClient(answers)).toEqual({
        [ok.subject]: { verdict: 'answered', value: 6, code: undefined },
        [fails.subject]: { verdict: 'failed', value: undefined, code: 'closed_today' },
        [silent.subject]: { verdict: 'timed_out', value: undefined, code: undefined },
        [without.subject]: { verdict: 'no_handler', value: undefined, code: undefined },
      })
    })

    it('to nobody settles at once', async () => {
      const hub = await client()
      expect(await hub.group('nobody-here').request('x', null, { deadline: 60_000 })).toEqual([])
    })

    it('streams its verdicts as they come', async () => {
      const [asker, quick] = (await apart(2)) as [Hub, Hub]
      const slow = await client()
      const group = `g${++count}`
      await Promise.all([quick.join(group), slow.join(group)])
      const release = Promise.withResolvers<string>()
      quick.handle('q', () => 'quick')
      slow.handle('q', () => release.promise)
      const seen: unknown[] = []
      for await (const { value } of asker.group(group).request('q')) {
        seen.push(value)
        release.resolve('slow')
      }
      expect(seen).toEqual(['quick', 'slow'])
    })

    it('settles as soon as a receiver is lost in the middle of it, long before the deadline', async () => {
      const asker = await client()
      const proxy = await startProxy(targetOf(place.urls[0] ?? ''))
      open.push(proxy)
      const victim = await client({ url: `wss://localhost:${proxy.port}` })
      const ok = await client()
      const group = `g${++count}`
      await Promise.all([victim.join(group), ok.join(group)])
      const reached = Promise.withResolvers<void>()
      victim.handle('q', () => {
        reached.resolve()
        return ends.promise
      })
      ok.handle('q', () => 'fine')
      const request = asker.group(group).request('q', null, { deadline: 240_000 })
      await reached.promise
      proxy.retarget({ host: '127.0.0.1', port: 9 })
      proxy.cut()
      expect(byClient(await request)).toMatchObject({
        [ok.subject]: { verdict: 'answered' },
        [victim.subject]: { verdict: 'disconnected' },
      })
    })

    it('is answered though the worker of its receiver is killed in the middle of it', async () => {
      const [asker, victim] = (await apart(2)) as [Hub, Hub]
      const group = `g${++count}`
      await victim.join(group)
      const pid = (await processes(asker)).get(await workerOf(victim)) as number
      const back = new Promise((resolve) => victim.on('state', ({ resumed }) => resumed && resolve('all the same')))
      let asked = 0
      victim.handle('q', () => {
        asked++
        process.kill(pid, 'SIGKILL')
        return back
      })
      const answers = await asker.group(group).request('q', null, { deadline: 240_000 })
      expect(byClient(answers)).toMatchObject({ [victim.subject]: { verdict: 'answered', value: 'all the same' } })
      expect(asked).toBe(1)
      await eventually(async () => expect((await processes(asker)).size).toBe(2 * place.urls.length))
    })

    it('has a verdict of each of 20 exactly once though the worker that collects them is killed in the middle', async () => {
      const [asker, near] = (await apart(2)) as [Hub, Hub]
      const group = `g${++count}`
      const members = [near, ...(await Promise.all(Array.from({ length: 19 }, () => client())))]
      const back = Promise.withResolvers<void>()
      const runs = new Map<string, number>()
      await Promise.all(members.map((hub) => hub.join(group)))
      for (const [i, hub] of members.entries())
        hub.handle('q', async () => {
          runs.set(hub.subject, (runs.get(hub.subject) ?? 0) + 1)
          if (i % 2 === 1) await back.promise
          return i
        })
      const pid = (await processes(near)).get(await workerOf(asker)) as number
      const { session } = asker
      const resumed = new Promise<void>((resolve) => asker.on('state', ({ resumed }) => resumed && resolve()))
      const heard: Answer[] = []
      for await (const answer of asker.group(group).request('q', null, { deadline: 240_000 })) {
        heard.push(answer as Answer)
        if (heard.length !== 10) continue
        process.kill(pid, 'SIGKILL')
        resumed.then(() => back.resolve())
      }
      expect(asker.session).toBe(session)
      expect(heard.map(({ client }) => `bot/${client}`).sort()).toEqual(members.map(({ subject }) => subject).sort())
      // Those of the killed worker may have been gone for too long; nobody is said to have been slow, or to be unknown.
      for (const { verdict } of heard) expect(['answered', 'disconnected']).toContain(verdict)
      expect(heard.filter(({ verdict }) => verdict === 'answered').length).toBeGreaterThanOrEqual(10)
      for (const hub of members) expect(runs.get(hub.subject)).toBe(1)
      await eventually(async () => expect((await processes(asker)).size).toBe(2 * place.urls.length))
    })

    it('for one member only is given to another when the first is gone, if it may be done twice', async () => {
      const asker = await client()
      const group = `g${++count}`
      const asked: string[] = []
      for (let i = 0; i < 2; i++) {
        const proxy = await startProxy(targetOf(place.urls[0] ?? ''))
        open.push(proxy)
        const member = await client({ url: `wss://localhost:${proxy.port}` })
        await member.join(group)
        member.handle('q', () => {
          asked.push(member.subject)
          if (asked.length === 2) return 'the second'
          proxy.retarget({ host: '127.0.0.1', port: 9 })
          proxy.cut()
          return ends.promise
        })
      }
      const answers = await asker.any(group).request('q', null, { deadline: 240_000, idempotent: true })
      const [first = '', second = ''] = asked
      expect(byClient(answers)).toMatchObject({
        [first]: { verdict: 'disconnected' },
        [second]: { verdict: 'answered', value: 'the second' },
      })
    })

    it('that is cancelled, or has answers enough, tells those who still work on it, on whatever worker', async () => {
      const [asker, near] = (await apart(2)) as [Hub, Hub]
      const far = await client()
      const group = `g${++count}`
      const reasons: unknown[] = []
      const working = Promise.withResolvers<void>()
      let busy = 0
      for (const hub of [near, far]) {
        await hub.join(group)
        hub.handle('slow', async (_, { signal }) => {
          signal.addEventListener('abort', () => reasons.push(signal.reason.code))
          if (++busy === 2) working.resolve()
          await ends.promise
        })
      }
      const cancelled = asker.group(group).request('slow', null, { deadline: 240_000 })
      await working.promise
      cancelled.cancel()
      expect((await cancelled).map(({ verdict }) => verdict)).toEqual(['not_needed', 'not_needed'])
      await eventually(() => expect(reasons).toEqual(['cancelled', 'cancelled']))
      near.handle('half', () => 'enough')
      far.handle('half', (_, { signal }) => {
        signal.addEventListener('abort', () => reasons.push(signal.reason.code))
        return ends.promise
      })
      const half = await asker.group(group).request('half', null, { deadline: 240_000, quorum: 1 })
      expect(half.map(({ verdict }) => verdict).sort()).toEqual(['answered', 'not_needed'])
      await eventually(() => expect(reasons).toHaveLength(3))
    })

    it('may be for one member only', async () => {
      const [asker, one] = (await apart(2)) as [Hub, Hub]
      const two = await client()
      const group = `g${++count}`
      await Promise.all([one.join(group), two.join(group)])
      for (const hub of [one, two]) hub.handle('who', () => hub.subject)
      for (let i = 0; i < 5; i++) {
        const answers = await asker.any(group).request<string>('who')
        expect(answers).toHaveLength(1)
        expect([one.subject, two.subject]).toContain(answers[0]?.value)
      }
      await expect(asker.any('nobody-here').request('who')).rejects.toMatchObject({ code: 'no_receiver' })
    })
  })

  describe('a record', () => {
    it('is seen by a watcher on another worker: snapshot, changes, and the reason of its end', async () => {
      const [owner, watcher] = (await apart(2)) as [Hub, Hub]
      const key = `thing/t${++count}`
      await owner.put(`${key}/a`, { n: 1 }, { lease: true })
      const watch = watcher.watch(`${key}/`)
      const changes = follow(watch)
      await eventually(() => expect(watch.entries.get(`${key}/a`)?.value).toEqual({ n: 1 }))
      await owner.put(`${key}/b`, 'kept')
      await owner.patch(`${key}/a`, { n: 2 })
      await owner.drop(`${key}/a`, 'no longer wanted')
      await owner.drop(`${key}/b`, 'neither')
      await eventually(() =>
        expect(
          changes.slice(-4).map(({ type, key: changed, entry, reason }) => [type, changed, entry?.value, reason]),
        ).toEqual([
          ['put', `${key}/b`, 'kept', undefined],
          ['put', `${key}/a`, { n: 2 }, undefined],
          ['drop', `${key}/a`, undefined, 'no longer wanted'],
          ['drop', `${key}/b`, undefined, 'neither'],
        ]),
      )
      const revisions = changes.map(({ revision }) => revision)
      expect(revisions).toEqual([...revisions].sort((a, b) => a - b))
    })

    it('is read by its writer at once', async () => {
      const hub = await client()
      const key = `thing/t${++count}`
      for (let i = 0; i < 20; i++) {
        await hub.put(key, i)
        expect((await hub.get(key))?.value).toBe(i)
      }
      await hub.drop(key, 'done')
      expect(await hub.get(key)).toBeUndefined()
    })

    it('that is leased turns suspect when its owner vanishes, and goes when it does not return', async () => {
      const watcher = await client()
      const proxy = await startProxy(targetOf(place.urls[0] ?? ''))
      open.push(proxy)
      const owner = await client({ url: `wss://localhost:${proxy.port}` })
      const key = `thing/t${++count}`
      await owner.put(key, 1, { lease: true })
      const watch = watcher.watch(key)
      const changes = follow(watch)
      await watch.ready()
      proxy.retarget({ host: '127.0.0.1', port: 9 })
      proxy.cut()
      await eventually(() =>
        expect(changes.map(({ type, reason }) => [type, reason]).slice(-2)).toEqual([
          ['suspect', undefined],
          ['drop', 'expired'],
        ]),
      )
    })

    it('that is announced outlives the death of its worker, and nobody notices', async () => {
      const [owner, watcher] = (await apart(2)) as [Hub, Hub]
      const key = `thing/t${++count}`
      const announcement = owner.announce(key, { up: 1 })
      await announcement.ready()
      const watch = watcher.watch(key)
      await watch.ready()
      const changes = follow(watch)
      const pid = (await processes(watcher)).get(await workerOf(owner)) as number
      process.kill(pid, 'SIGKILL')
      await eventually(() => expect(owner.state).not.toBe('connected'))
      await eventually(() => expect(owner.state).toBe('connected'))
      await announcement.update({ up: 2 })
      await announcement.drop('over')
      await eventually(() =>
        expect(changes.map(({ type, entry }) => [type, entry?.value])).toEqual([
          ['put', { up: 2 }],
          ['drop', undefined],
        ]),
      )
      await eventually(async () => expect((await processes(watcher)).size).toBe(2 * place.urls.length))
    })

    it('of who is connected is kept by the hub itself', async () => {
      const [one, two] = (await apart(2)) as [Hub, Hub]
      const group = `g${++count}`
      await one.join(group)
      const key = `service/${one.subject}/${one.session}`
      await eventually(async () =>
        expect((await two.get(key))?.value).toMatchObject({ groups: [group], address: '127.0.0.1' }),
      )
      await one.close()
      await eventually(async () => expect(await two.get(key)).toBeUndefined())
    })
  })

  describe('a line that dies silently', () => {
    it('is noticed by both sides, and everything is restored on a new one', async () => {
      const witness = await client()
      const proxy: StallingProxy = await startProxy(targetOf(place.urls[0] ?? ''))
      open.push(proxy)
      const states: string[] = []
      const reasons: (string | undefined)[] = []
      const victim = await client({
        url: `wss://localhost:${proxy.port}`,
        onState: ({ state, reason }) => {
          states.push(state)
          reasons.push(reason)
        },
      })
      const group = `g${++count}`
      const key = `thing/t${count}`
      await victim.join(group)
      await victim.announce(key, 'mine').ready()
      const watch = victim.watch(`thing/w${count}/`)
      await watch.ready()
      const got = heard(victim, 'note')
      const seen = witness.watch(`service/${victim.subject}/`)
      const services = follow(seen)
      await seen.ready()

      proxy.stall()
      // The hub's side: the session's record turns suspect. The client's side: it says so, and tries again.
      await eventually(() => expect(services.map(({ type }) => type)).toContain('suspect'))
      await eventually(() => expect(states).toContain('reconnecting'))
      expect(reasons).toContain('silent')
      proxy.resume()
      await eventually(() => expect(victim.state).toBe('connected'), { deadlineMs: 20_000 })
      await eventually(async () => expect(await witness.get(key)).toMatchObject({ state: 'live', value: 'mine' }))
      await witness.group(group).send('note', 'again')
      await witness.put(`thing/w${count}/x`, 1)
      await eventually(() => expect(got).toEqual(['again']))
      await eventually(() => expect(watch.entries.get(`thing/w${count}/x`)?.value).toBe(1))
      await witness.drop(`thing/w${count}/x`, 'done')
    })
  })
}

function targetOf(url: string): { host: string; port: number } {
  return { host: '127.0.0.1', port: Number(new URL(url).port) }
}
