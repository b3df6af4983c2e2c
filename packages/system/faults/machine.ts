import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunningService } from '@damon/testkit/process'
import type { House } from '../src/house.ts'

const restartMs = 100

/** A hub as its supervisor runs it: whenever its process ends, it is started again, on the same port and folder. */
export class Machine implements AsyncDisposable {
  readonly name: string
  readonly port: number
  readonly #house: House
  readonly #env: Readonly<Record<string, string>>
  readonly #outputs: string[] = []
  #service: RunningService | undefined
  #held: PromiseWithResolvers<void> | undefined
  #stopped = false
  #life: Promise<void> = Promise.resolve()
  #starts = 0

  private constructor(house: House, name: string, port: number, env: Readonly<Record<string, string>>) {
    this.#house = house
    this.name = name
    this.port = port
    this.#env = env
  }

  /** Starts it; rejects when the first start fails. */
  static async start(
    house: House,
    name: string,
    port: number,
    env: Readonly<Record<string, string>>,
  ): Promise<Machine> {
    const machine = new Machine(house, name, port, { ...env, HUB_PORT: String(port) })
    machine.#service = await machine.#launch()
    machine.#life = machine.#supervise()
    return machine
  }

  /** How often it was started. */
  get starts(): number {
    return this.#starts
  }

  get service(): RunningService {
    if (!this.#service) throw new Error(`${this.name} does not run.`)
    return this.#service
  }

  /** All that it printed, over all its lives. */
  get output(): string {
    return [...this.#outputs, this.#service?.output ?? ''].join('')
  }

  /** Processes of its workers. */
  get workers(): number[] {
    return childrenOf(this.service.pid)
  }

  /** Sends a signal to the primary and its workers. */
  signalAll(name: NodeJS.Signals): void {
    for (const pid of [...this.workers, this.service.pid]) kill(pid, name)
  }

  /** The machine is gone, with all its processes at once, until `back`. */
  die(): void {
    this.#held = Promise.withResolvers()
    this.signalAll('SIGKILL')
  }

  back(): void {
    this.#held?.resolve()
    this.#held = undefined
  }

  /** Resolves when it is ready and as many workers serve as it shall have. */
  async whole(workers: number, withinMs = 60_000): Promise<void> {
    const deadline = performance.now() + withinMs
    for (;;) {
      if ((await this.metric('damon_hub_workers')) === workers) return
      if (performance.now() > deadline) throw new Error(`${this.name} is not whole:\n${this.output.slice(-4_000)}`)
      await sleep(50)
    }
  }

  /** What it counts under this name and these labels; 0 where there is nothing, or it does not answer. */
  async metric(name: string): Promise<number> {
    const reply = await fetch(`${this.#service?.ready.metrics}/metrics`).catch(() => undefined)
    const lines = ((await reply?.text().catch(() => '')) ?? '').split('\n')
    return Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    this.back()
    await this.#service?.[Symbol.asyncDispose]()
    await this.#life
  }

  async #launch(): Promise<RunningService> {
    this.#starts++
    return this.#house.startHub(this.#env)
  }

  async #supervise(): Promise<void> {
    for (;;) {
      const service = this.#service
      await service?.exited
      this.#outputs.push(service?.output ?? '')
      this.#service = undefined
      await this.#held?.promise
      if (this.#stopped) return
      await sleep(restartMs)
      try {
        this.#service = await this.#launch()
        // Ended meanwhile: what was told to stop has nobody else to stop it.
        if (this.#stopped) await this.#service[Symbol.asyncDispose]()
      } catch (error) {
        this.#outputs.push(`${(error as Error).message}\n`)
      }
    }
  }
}

/** Processes that a process has started and that live; none where it is gone. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Whether a process runs; one that only waits for its parent to take note of its end does not. */
export function runs(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
  } catch {
    return false
  }
}

/** Sends a signal to a process that may be gone. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
