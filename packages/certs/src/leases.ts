import { randomUUID } from 'node:crypto'
import { readFile, readlink } from 'node:fs/promises'
import type { Logger } from '@damon/runtime/logger'
import { z } from 'zod'
import type { Clock } from './clock.ts'
import { certsError } from './errors.ts'
import type { Store } from './store.ts'

/** A holder shows so often that it lives; one that was seen not to for `patience` looks in a row is taken for dead. */
const beatMs = 10_000
const lookMs = 5_000
const patience = 10

const schema = z.object({
  holder: z.string(),
  pid: z.int(),
  /** Where that process number means something. */
  house: z.string(),
  beat: z.int(),
  released: z.boolean(),
})
type Held = z.output<typeof schema>

/** The right to work on something, until it is disposed or another takes over. */
export interface Lease extends AsyncDisposable {
  /** Rises with each holder: the fencing token. */
  readonly generation: number
  /** Aborted when it was found to be another's. */
  readonly lost: AbortSignal
  /** Throws `lease_lost` when it is another's. To be asked before each step that must not be done twice. */
  fence(): Promise<void>
}

/**
 * Leases among all certs that share one store. Each holder makes a file of the next number, which only one can; the
 * highest number holds. No clock is compared with another machine's, and no hub is needed: the certificate of the hub
 * itself may be what is to be renewed.
 */
export class Leases {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Logger
  readonly #holder = randomUUID()

  constructor(options: { store: Store; clock: Clock; log: Logger }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#log = options.log
  }

  /** Waits until it is free, or its holder is dead, and takes it. */
  async acquire(name: string, signal: AbortSignal): Promise<Lease> {
    let seen: { text: string; times: number } | undefined
    for (;;) {
      const { generation, held } = await this.#last(name)
      const text = JSON.stringify({ generation, ...held })
      seen = { text, times: seen?.text === text ? seen.times + 1 : 0 }
      if (!held || held.released || seen.times >= patience || (await isDead(held))) {
        if (held && !held.released) this.#log.warn({ lease: name, generation }, 'its holder is gone: taking it over')
        const lease = await this.#take(name, generation + 1)
        if (lease) return lease
        continue
      }
      await this.#clock.until(this.#clock.now() + lookMs, signal)
    }
  }

  async #last(name: string): Promise<{ generation: number; held: Held | undefined }> {
    const last = (await this.#store.list(`lease/${name}`)).at(-1)
    if (last === undefined) return { generation: 0, held: undefined }
    const content = await this.#store.read(`lease/${name}/${last}`)
    return { generation: Number(last), held: content && schema.parse(JSON.parse(Buffer.from(content).toString())) }
  }

  async #take(name: string, generation: number): Promise<Lease | undefined> {
    const file = (number: number) => `lease/${name}/${String(number).padStart(15, '0')}`
    const own = { holder: this.#holder, pid: process.pid, house: await house() }
    const content = (beat: number, released: boolean) => JSON.stringify({ ...own, beat, released })
    if (!(await this.#store.create(file(generation), content(0, false)))) return undefined
    await this.#store.remove(file(generation - 1))
    const lost = new AbortController()
    const fence = async () => {
      if ((await this.#last(name)).generation === generation) return
      const error = certsError('lease_lost', `The lease of ${name} is another's.`)
      lost.abort(error)
      throw error
    }
    let beats = 0
    let beating: Promise<void> = Promise.resolve()
    const beat = async () => {
      await fence()
      beats += 1
      await this.#store.write(file(generation), content(beats, false))
    }
    const timer = setInterval(() => {
      beating = beat().catch((error) => this.#log.warn({ lease: name, err: error }, 'the lease could not be kept'))
    }, beatMs)
    timer.unref()
    return {
      generation,
      lost: lost.signal,
      fence,
      [Symbol.asyncDispose]: async () => {
        clearInterval(timer)
        await beating
        try {
          await fence()
          await this.#store.write(file(generation), content(beats + 1, true))
        } catch (error) {
          this.#log.warn({ lease: name, err: error }, 'the lease could not be given back')
        }
      },
    }
  }
}

/** This boot of this machine, and the processes that see each other's numbers; empty where the system does not say. */
async function house(): Promise<string> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return `${boot.trim()} ${await readlink('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

/** Whether a holder is known to be gone, so that nobody has to wait for it: it was killed, and this is its successor. */
async function isDead({ pid, house: there }: Held): Promise<boolean> {
  if (there === '' || there !== (await house())) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
