import { randomUUID } from 'node:crypto'
import { eventually } from '@damon/testkit/eventually'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { House } from '../src/house.ts'
import { openRaw } from '../src/raw-client.ts'
import { Conversation, type Guest, type GuestBehindProxy, Guests, processes, targetOf, workerOf } from './guests.ts'

/** Hubs on one bus, and hubs of their own where a test asks for one. */
export interface ResumePlace extends AsyncDisposable {
  house: House
  /** Of each hub; their workers share one bus. */
  urls: string[]
  /** Another hub that has nothing to do with them. */
  apart(env: Readonly<Record<string, string>>): Promise<AsyncDisposable & { url: string }>
}

const patience = { deadlineMs: 30_000 }

/** What a session is promised whose line breaks, whose worker dies, or that stays away: the same on every bus. */
export function resumeWays(openPlace: () => Promise<ResumePlace>): void {
  let place: ResumePlace
  let guests: Guests
  let workers = 0

  beforeAll(async () => {
    place = await openPlace()
    guests = new Guests()
    const { hub } = await guests.come(place.house, place.urls[0] ?? '')
    workers = (await processes(hub)).size
    await guests[Symbol.asyncDispose]()
  })
  afterEach(() => guests?.[Symbol.asyncDispose]())
  afterAll(() => place?.[Symbol.asyncDispose]())

  const url = (i: number) => place.urls[i % place.urls.length] ?? ''
  const throughProxy = (i = 0): Promise<GuestBehindProxy> => guests.comeThroughProxy(place.house, url(i))

  /** Two clients, on one worker or on two, that are in a group of theirs. */
  async function pair(together: boolean): Promise<[Guest, Guest, string]> {
    const group = `g-${randomUUID()}`
    const one = await guests.come(place.house, url(0), { groups: [group] })
    const worker = await workerOf(one.hub)
    for (let i = 0; i < 60; i++) {
      const two = await guests.come(place.house, url(together ? 0 : i), { groups: [group] })
      if (((await workerOf(two.hub)) === worker) === together) return [one, two, group]
      await two.hub.close()
    }
    throw new Error('No two clients came to where they were wanted.')
  }

  async function kill(...hubs: Guest[]): Promise<void> {
    const pids = await processes((hubs[0] as Guest).hub)
    const victims = new Set(await Promise.all(hubs.map(async ({ hub }) => pids.get(await workerOf(hub)) as number)))
    for (const pid of victims) process.kill(pid, 'SIGKILL')
  }

  const goneOn = (guest: Guest, times = 1) =>
    eventually(() => expect([guest.resumed, guest.reasons]).toEqual([Array(times).fill(true), Array(times)]), patience)

  /** The workers that died are replaced. */
  const healed = (guest: Guest) =>
    eventually(async () => expect((await processes(guest.hub)).size).toBe(workers), patience)

  describe('while clients talk', () => {
    it('a line that is cut loses nothing, either way', async () => {
      const [one, two] = [await throughProxy(0), await throughProxy(1)]
      const group = `g-${randomUUID()}`
      for (const { hub } of [one, two]) await hub.join(group)
      await using talk = new Conversation(one.hub, two.hub, group)
      await talk.goesOn()
      one.proxy.cut()
      await goneOn(one)
      await talk.goesOn()
      two.proxy.cut()
      one.proxy.cut()
      await goneOn(one, 2)
      await goneOn(two)
      await talk.goesOn()
      await talk.endsWell()
      expect([one.gaps, two.gaps]).toEqual([[], []])
    })

    it('a line that is cut again and again, before the session has caught up, loses nothing', async () => {
      const [one, two] = [await throughProxy(0), await throughProxy(1)]
      const group = `g-${randomUUID()}`
      for (const { hub } of [one, two]) await hub.join(group)
      await using talk = new Conversation(one.hub, two.hub, group)
      await talk.goesOn()
      const again = one.hub.on('state', ({ state }) => {
        if (state !== 'connected') return
        if (one.resumed.length < 6) one.proxy.cut()
        else again[Symbol.dispose]()
      })
      one.proxy.cut()
      await eventually(() => expect(one.resumed.length).toBeGreaterThanOrEqual(6), patience)
      await talk.goesOn()
      await talk.endsWell()
      expect(one.resumed).not.toContain(false)
      expect([one.gaps, two.gaps]).toEqual([[], []])
    })

    it('a line of which the hub does not know that it is dead makes room for the new one', async () => {
      const [one, two] = [await throughProxy(0), await throughProxy(1)]
      const group = `g-${randomUUID()}`
      for (const { hub } of [one, two]) await hub.join(group)
      await using talk = new Conversation(one.hub, two.hub, group)
      await talk.goesOn()
      one.proxy.abandon()
      await goneOn(one)
      await talk.goesOn()
      await talk.endsWell()
      expect([one.gaps, two.gaps]).toEqual([[], []])
    })

    it('a session goes on on another machine', async () => {
      const one = await throughProxy(0)
      const two = await guests.come(place.house, url(0))
      const group = `g-${randomUUID()}`
      for (const { hub } of [one, two]) await hub.join(group)
      await using talk = new Conversation(one.hub, two.hub, group)
      await talk.goesOn()
      one.proxy.retarget(targetOf(url(1)))
      one.proxy.cut()
      await goneOn(one)
      await talk.goesOn()
      await talk.endsWell()
      expect(one.gaps).toEqual([])
    })

    for (const [whose, together, victims] of [
      ['of the one', false, [0]],
      ['of the other', false, [1]],
      ['of each', false, [0, 1]],
      ['of both', true, [0]],
    ] as const)
      it(`the worker ${whose} is killed, and nothing is lost`, async () => {
        const [one, two, group] = await pair(together)
        await using talk = new Conversation(one.hub, two.hub, group)
        await talk.goesOn()
        await kill(...victims.map((i) => [one, two][i] as Guest))
        for (const [i, guest] of [one, two].entries())
          if (together || (victims as readonly number[]).includes(i)) await goneOn(guest)
        await talk.goesOn()
        await talk.endsWell()
        expect([one.gaps, two.gaps]).toEqual([[], []])
        await healed(one)
      })
  })

  describe('a session that goes on', () => {
    it('keeps its records: nobody who watches them notices anything', async () => {
      const owner = await throughProxy(0)
      const watcher = await guests.come(place.house, url(1))
      const prefix = `thing/${randomUUID()}`
      await owner.hub.put(`${prefix}/put`, 1, { lease: true })
      const announcement = owner.hub.announce(`${prefix}/announced`, 1)
      await announcement.ready()
      const watch = watcher.hub.watch(`${prefix}/`)
      await watch.ready()
      const changes: unknown[] = []
      watch.on('change', ({ type, key, entry }) => changes.push([type, key, entry?.value]))
      owner.proxy.cut()
      await goneOn(owner)
      await announcement.update(2)
      await owner.hub.patch(`${prefix}/put`, 2)
      await eventually(() =>
        expect(changes).toEqual([
          ['put', `${prefix}/announced`, 2],
          ['put', `${prefix}/put`, 2],
        ]),
      )
    })

    it('keeps its watches, and is told what changed meanwhile', async () => {
      const watcher = await throughProxy(0)
      const owner = await guests.come(place.house, url(1))
      const key = `thing/${randomUUID()}`
      await owner.hub.put(key, 1)
      const watch = watcher.hub.watch(key)
      await watch.ready()
      const changes: unknown[] = []
      watch.on('change', ({ type, entry }) => changes.push([type, entry?.value]))
      watcher.proxy.retarget({ host: '127.0.0.1', port: 9 })
      watcher.proxy.cut()
      await owner.hub.put(key, 2)
      watcher.proxy.retarget(targetOf(url(0)))
      await goneOn(watcher)
      await owner.hub.drop(key, 'done')
      await eventually(() =>
        expect(changes).toEqual([
          ['put', 2],
          ['drop', undefined],
        ]),
      )
    })

    it('gets the verdicts that were given meanwhile, and its request settles', async () => {
      const asker = await throughProxy(0)
      const receiver = await guests.come(place.house, url(1))
      const group = `g-${randomUUID()}`
      await receiver.hub.join(group)
      const asked = Promise.withResolvers<void>()
      const answer = Promise.withResolvers<string>()
      receiver.hub.handle('q', () => {
        asked.resolve()
        return answer.promise
      })
      const request = asker.hub.group(group).request('q', null, { deadline: 60_000 })
      await asked.promise
      asker.proxy.retarget({ host: '127.0.0.1', port: 9 })
      asker.proxy.cut()
      answer.resolve('meanwhile')
      // The answer is in the log once its sender has been told so.
      await receiver.hub.all().send('x')
      asker.proxy.retarget(targetOf(url(0)))
      await goneOn(asker)
      expect((await request)[0]).toMatchObject({ verdict: 'answered', value: 'meanwhile' })
    })

    it('is nobody else’s: a stolen ticket is worth nothing to another subject, and its owner does not notice', async () => {
      const { house } = place
      const ca = house.tls.ca
      const rights = ['send:*', 'join:*']
      const [mine, theirs] = await Promise.all([
        house.credential(url(0), 'bot/mine', rights),
        house.credential(url(0), 'bot/theirs', rights),
      ])
      using owner = await openRaw(url(0), { ca })
      const { session, ticket, epoch, ack, positions } = await owner.hello(mine)
      using thief = await openRaw(url(1), { ca })
      const resume = { session, ticket, epoch, ack, positions, done: 0, sent: 0 }
      const welcome = await thief.hello(theirs, { resume })
      expect(welcome).toMatchObject({ resumed: false, reason: 'unknown_session', subject: 'bot/theirs' })
      expect(welcome.session).not.toBe(session)
      const send = { type: 'send', to: 'client/bot/mine', event: 'x', again: false, any: false, bytes: false } as const
      const payload = new Uint8Array()
      expect(await owner.ask({ ...send, number: 1, payload })).toMatchObject({ type: 'ack' })
      expect(await owner.next('message')).toMatchObject({ session })
      // Its own subject with another key is another holder.
      const renewed = await house.credential(url(0), 'bot/mine', rights)
      using other = await openRaw(url(1), { ca })
      expect(await other.hello(renewed, { resume })).toMatchObject({ resumed: false, reason: 'unknown_session' })
      using again = await openRaw(url(1), { ca })
      expect(await again.hello(mine, { resume: { ...resume, done: 1, sent: 1 } })).toMatchObject({
        resumed: true,
        session,
        done: 1,
      })
      expect(await owner.closed).toMatchObject({ code: 3009, reason: 'replaced' })
    })

    it('is asked for its rights again: without one to a group of its own it does not come in', async () => {
      const { house } = place
      const ca = house.tls.ca
      const all = await house.credential(url(0), 'bot/less', ['join:*'])
      if (!all.identity) throw new Error('It has a key.')
      using before = await openRaw(url(0), { ca })
      const { session, ticket, epoch, ack, positions } = await before.hello(all, { groups: ['a'] })
      const less = await house.credential(url(0), 'bot/less', ['join:b'], { identity: all.identity })
      const resume = { session, ticket, epoch, ack, positions, done: 0, sent: 0 }
      using refused = await openRaw(url(0), { ca })
      await expect(refused.hello(less, { resume, groups: ['a'] })).rejects.toThrow(/unauthorized/)
      using without = await openRaw(url(0), { ca })
      expect(await without.hello(less, { resume, groups: ['b'] })).toMatchObject({ resumed: true, session })
    })
  })

  describe('a session that stays away', () => {
    it('for longer than the window is over: it is told so, of everything that it was in and had sent', async () => {
      await using hub = await place.apart({ HUB_RESUME_MS: '1000' })
      const guest = await guests.comeThroughProxy(place.house, hub.url, { groups: ['lost'] })
      const witness = await guests.come(place.house, hub.url)
      const key = `service/${guest.hub.subject}/${guest.hub.session}`
      const before = guest.hub.session
      const watch = witness.hub.watch(key)
      await watch.ready()
      const ends: unknown[] = []
      watch.on('change', ({ type, reason }) => ends.push([type, reason]))
      guest.proxy.stall()
      const sent = guest.hub.all().send('x')
      const asked = witness.hub.client(...(guest.hub.subject.split('/') as [string, string])).request('q', null, {
        deadline: 60_000,
      })
      guest.proxy.retarget({ host: '127.0.0.1', port: 9 })
      guest.proxy.cut()
      guest.proxy.resume()
      await eventually(() => expect(ends.at(-1)).toEqual(['drop', 'expired']), patience)
      expect((await asked).map(({ verdict }) => verdict)).toEqual(['disconnected'])
      guest.proxy.retarget(targetOf(hub.url))
      await eventually(() => expect(guest.resumed).toEqual([false]), patience)
      expect(guest.reasons).toEqual(['unknown_session'])
      expect(guest.gaps).toEqual(
        ['all', `client/${guest.hub.subject}`, `session/${before}`, 'group/lost'].map((to) => ({ to })),
      )
      await expect(sent).rejects.toMatchObject({ code: 'unknown_outcome' })
    })

    it('for less than that goes on, though it was given up meanwhile, and its records live again', async () => {
      const owner = await throughProxy(0)
      const watcher = await guests.come(place.house, url(1))
      const group = `g-${randomUUID()}`
      const key = `thing/${randomUUID()}`
      await owner.hub.join(group)
      const announcement = owner.hub.announce(key, 1)
      await announcement.ready()
      const heard: unknown[] = []
      owner.hub.receive('n', (value) => heard.push(value))
      let asked = 0
      owner.hub.handle('q', () => ++asked)
      const watch = watcher.hub.watch(key)
      await watch.ready()
      const changes: string[] = []
      watch.on('change', ({ type }) => changes.push(type))
      owner.proxy.retarget({ host: '127.0.0.1', port: 9 })
      owner.proxy.cut()
      await watcher.hub.group(group).send('n', 1)
      await eventually(() => expect(changes).toEqual(['suspect']), patience)
      await watcher.hub.group(group).send('n', 2)
      expect(await watcher.hub.group(group).request('q')).toEqual([])
      owner.proxy.retarget(targetOf(url(0)))
      await goneOn(owner)
      await watcher.hub.group(group).send('n', 3)
      await eventually(() => expect(heard).toEqual([1, 2, 3]))
      await eventually(() => expect(watch.entries.get(key)).toMatchObject({ state: 'live', value: 1 }))
      expect(changes).not.toContain('drop')
      expect(asked).toBe(0)
      expect((await watcher.hub.group(group).request('q')).map(({ value }) => value)).toEqual([1])
    })
  })
}
