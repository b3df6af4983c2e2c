import { limits } from '@damon/protocol/limits'

/** A receiver that takes less than it is sent. */
export interface SlowReceiver {
  /** What it gets messages of. */
  readonly channels: Iterable<string>
}

/** Somebody who sends. */
export interface Restrained {
  /** Reads no more of it until released. */
  hold(): void
  release(): void
}

/**
 * Keeps those waiting who send to a receiver on this worker that is slow: until it is not, or for `stallMs`. Then it is on its own, until
 * it has caught up and becomes slow anew: who is stuck delays nobody for longer.
 */
export class Restraint {
  readonly #slow = new Map<SlowReceiver, { channels: string[]; timer: NodeJS.Timeout }>()
  /** Per channel, its slow receivers. */
  readonly #channels = new Map<string, number>()
  readonly #held = new Map<Restrained, string>()

  /** How many senders wait. */
  get held(): number {
    return this.#held.size
  }

  /** A receiver became slow. */
  rise(receiver: SlowReceiver): void {
    if (this.#slow.has(receiver)) return
    const channels = [...receiver.channels]
    for (const channel of channels) this.#channels.set(channel, (this.#channels.get(channel) ?? 0) + 1)
    const timer = setTimeout(() => this.fall(receiver), limits.stallMs).unref()
    this.#slow.set(receiver, { channels, timer })
  }

  /** It has caught up, or is gone. */
  fall(receiver: SlowReceiver): void {
    const slow = this.#slow.get(receiver)
    if (!slow) return
    clearTimeout(slow.timer)
    this.#slow.delete(receiver)
    for (const channel of slow.channels) {
      const count = (this.#channels.get(channel) ?? 1) - 1
      if (count > 0) this.#channels.set(channel, count)
      else this.#channels.delete(channel)
    }
    for (const [sender, channel] of this.#held) {
      if (this.#channels.has(channel)) continue
      this.#held.delete(sender)
      sender.release()
    }
  }

  /** Somebody sent to a channel: waits if a receiver there is slow. */
  sent(channel: string, sender: Restrained): void {
    if (this.#channels.size === 0 || !this.#channels.has(channel) || this.#held.has(sender)) return
    this.#held.set(sender, channel)
    sender.hold()
  }

  /** A sender is gone. */
  forget(sender: Restrained): void {
    this.#held.delete(sender)
  }
}
