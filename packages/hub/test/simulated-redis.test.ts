import { createHash } from 'node:crypto'
import { startRedis } from '@damon/testkit/redis-server'
import { Command, Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import type { Reply } from './simulation/redis/data.ts'
import { none, simulate, usual } from './simulation/run.ts'

/** What a simulated Redis was told to do, when, and what it answered. */
interface Done {
  command: string[]
  reply: Reply
  at: number
}

/** Scripts in which nothing depends on an order that Redis does not promise, and that know no time but the one that they are given. */
function repeatable(script: string, clock = ''): string {
  return `
    local function call(name, ...)
      ${clock}
      if name == 'HRANDFIELD' then return redis.call('HGETALL', (...)) end
      local reply = redis.call(name, ...)
      if name == 'SMEMBERS' then table.sort(reply) end
      return reply
    end
    ${script.replaceAll('redis.call(', 'call(')}`
}

const givenClock = `if name == 'TIME' then return { redis.call('GET', 'seconds'), redis.call('GET', 'micros') } end`

/** A reply without what the writers of JSON, of hashes and of numbers may choose. */
function plain(reply: unknown): unknown {
  if (Array.isArray(reply)) {
    const items = reply.map(plain)
    // A session's requests are the values of a hash.
    const inAnyOrder = (item: unknown) => typeof item === 'string' && item.startsWith('{"')
    return reply.some(inAnyOrder) || items.some((item) => item instanceof Object && !Array.isArray(item))
      ? items.map((item) => JSON.stringify(item)).sort()
      : items
  }
  if (reply === 'inf') return 'Infinity'
  if (reply instanceof Error) return { error: reply.message.slice(0, 12) }
  if (typeof reply === 'string' && /^\{"/.test(reply)) {
    const [json = '', ...rest] = reply.split('\n')
    return [Object.entries(JSON.parse(json)).sort(), ...rest]
  }
  if (reply instanceof Object) {
    if ('error' in reply) return { error: (reply as { error: string }).error.slice(0, 12) }
    if ('word' in reply) return (reply as { word: string }).word
    if ('double' in reply) return String((reply as { double: number }).double)
    if ('couples' in reply) return plain((reply as { couples: string[][] }).couples)
  }
  return reply
}

/** Fields and values in turn, of a hash, whose order is not promised. */
function hash(reply: unknown): unknown {
  const flat = Array.isArray(reply) ? reply : (reply as { pairs: string[][] }).pairs.flat()
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[i * 2], plain(flat[i * 2 + 1])]).sort()
}

function shape(reply: unknown): unknown {
  const items = plain(reply)
  return Array.isArray(items) ? items.map(shape) : typeof items
}

describe('a simulated Redis', { timeout: 120_000 }, () => {
  it('answers and publishes in a whole run what a real one does', async () => {
    const done: Done[] = []
    const published: [string, string][] = []
    const outcome = await simulate(
      { ...usual, seed: 1, bus: 'redis', faults: { ...none, cut: 3, hang: 1, bury: 1, kill: 1 } },
      {
        rewrite: (script) => repeatable(script),
        done: (command, reply) => done.push({ command, reply, at: Date.now() }),
        published: (channel, message) => published.push([channel, message]),
      },
    )
    expect(outcome.delivered).toBeGreaterThan(500)
    const scripts = new Map<string, string>()
    for (const { command } of done) {
      const [name, script = ''] = command
      if (name === 'EVAL') scripts.set(createHash('sha1').update(script, 'latin1').digest('hex'), script)
    }
    await using server = await startRedis()
    const redis = new Redis(server.url)
    const ears = new Redis(server.url)
    const heard: [string, string][] = []
    try {
      ears.on('pmessageBuffer', (_, channel: Buffer, message: Buffer) =>
        heard.push([channel.toString('latin1'), message.toString('latin1')]),
      )
      await ears.psubscribe('*')
      const replies: unknown[] = []
      for (const { command, at } of done) {
        const [name = '', ...args] = command
        await redis.mset('seconds', Math.floor(at / 1_000), 'micros', Math.floor((at % 1_000) * 1_000))
        if (name === 'EVAL' || name === 'EVALSHA')
          args[0] = repeatable((name === 'EVAL' ? args[0] : scripts.get(args[0] ?? '')) ?? '', givenClock)
        const bytes = args.map((text) => Buffer.from(text, 'latin1'))
        const act = new Command(name === 'EVALSHA' ? 'EVAL' : name, bytes, { replyEncoding: 'latin1' })
        redis.sendCommand(act)
        replies.push(await act.promise.catch((error: unknown) => error))
      }
      // Here nobody but the test listens.
      for (const [i, { command, reply }] of done.entries()) {
        // Of chance, and of who listens, only the kind can be the same.
        const say = command[0] === 'HGETALL' ? hash : /^(HRANDFIELD|PUBLISH)$/.test(command[0] ?? '') ? shape : plain
        expect({ i, command, reply: say(replies[i]) }).toEqual({ i, command, reply: say(reply) })
      }
      expect(heard.map(plain)).toEqual(published.map(plain))
    } finally {
      redis.disconnect()
      ears.disconnect()
    }
  })
})
