import { randomBytes } from 'node:crypto'
import type { MessageFrame } from '@damon/protocol/frames'
import type { Context } from './context.ts'
import type { Receiver } from './delivery.ts'
import { EncodedFrame } from './message.ts'
import { SendOrder } from './publisher.ts'
import type { WireFrame } from './wire-run.ts'

/** What a worker says of itself to operators. */
export interface HubStatus {
  worker: string
  origin: number
  pid: number
  sessions: number
  uptimeMs: number
  bus: 'cluster' | 'redis'
  reachable: boolean
  records: number
  openRequests: number
  [more: string]: unknown
}

/**
 * The hub as a client of itself: a member of `group/hubs` on each worker, which answers operators' requests: `hub.status`, and
 * `hub.roll`, which is answered when it was passed on. Who may ask is for the token to say.
 */
export class Desk implements Receiver {
  readonly id = randomBytes(8).toString('hex')
  readonly subject: string
  readonly #context: Context
  readonly #status: () => HubStatus
  readonly #roll: (wish: string) => void
  readonly #order = new SendOrder()

  constructor(context: Context, status: () => HubStatus, roll: (wish: string) => void) {
    this.#context = context
    this.#status = status
    this.#roll = roll
    this.subject = `hub/w${context.publisher.origin}`
  }

  /** Takes its place in the groups; rejects when the store cannot be reached. */
  async open(): Promise<void> {
    const channels = ['group/hubs', `client/${this.subject}`]
    await Promise.all(channels.map((channel) => this.#context.delivery.add(channel, this)))
    const joined = await this.#context.store.openSession({ session: this.id, subject: this.subject, channels })
    for (const channel of channels) this.#context.delivery.confirm(channel, this, joined)
  }

  ask(request: WireFrame): void {
    const frame = request.frame as MessageFrame
    const known = frame.event === 'hub.status' || frame.event === 'hub.roll'
    if (frame.event === 'hub.roll') {
      this.#context.log.info({ from: frame.from }, 'an operator wishes new workers')
      this.#roll(`${frame.session}/${frame.number}`)
    }
    const payload = known ? Buffer.from(JSON.stringify(this.#status())) : Buffer.alloc(0)
    const verdict = new EncodedFrame({
      type: 'verdict',
      again: false,
      bytes: false,
      late: false,
      origin: 0,
      seq: 0,
      number: 0,
      request: frame.number,
      session: this.id,
      from: this.subject,
      verdict: known ? 'answered' : 'no_handler',
      code: known ? '' : 'no_handler',
      payload,
    })
    const channel = `session/${frame.session}`
    this.#context.publisher.publish({ channel, kind: 'answer', frame: verdict, order: this.#order, number: 0 })
  }

  deliver(): void {
    // Messages to the hub itself mean nothing.
  }

  answer(): void {
    // The hub itself asks nobody.
  }

  gap(): void {
    // A request that was lost on the way here is told to its sender as timed out.
  }
}
