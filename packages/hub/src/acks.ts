/** Somebody who has an acknowledgement to send. */
export interface Acknowledger {
  flushAck(): void
}

/** How long an acknowledgement waits for the next one when its session had one just now, ms. */
export const ackMs = 2

/** Acknowledgements that wait a moment, so that a busy sender gets one for many. */
export class Acks {
  #waiting: Acknowledger[] = []

  later(session: Acknowledger): void {
    if (this.#waiting.push(session) > 1) return
    setTimeout(() => {
      const waiting = this.#waiting
      this.#waiting = []
      for (const one of waiting) one.flushAck()
    }, ackMs)
  }
}
