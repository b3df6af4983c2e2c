import { frameNumbers, replyVerdicts } from '@damon/protocol/frames'
import { flag, replyLayout } from './layout.ts'
import { VerdictMaker } from './message.ts'
import type { Publication, Sender, SendOrder } from './publisher.ts'

const { flagsAt, numberAt, verdictAt, codeAt, sessionAt, requestAt, payloadAt } = replyLayout

/** The session whose replies they are. */
interface Owner extends Sender {
  readonly id: string
  readonly subject: string
  readonly order: SendOrder
}

/** What a session answers: of a reply as it came only a few numbers are read, and most of the verdict was made before. */
export class Replies {
  readonly #maker: VerdictMaker
  readonly #publication: Publication
  /** The session that asked. */
  asker = ''
  /** Its number of the request. */
  request = 0

  constructor(owner: Owner) {
    this.#maker = new VerdictMaker({ session: owner.id, from: owner.subject })
    const { order } = owner
    this.#publication = { channel: '', kind: 'answer', frame: this.#maker, order, sender: owner, number: 0 }
  }

  /**
   * The publication of a `damon.v1` frame that lies in the chunk, from one place to the other, if it is a whole reply without a code;
   * `asker` and `request` say what it is to. Good until the next one is made.
   */
  publicationOf(chunk: Buffer, from: number, to: number): Publication | undefined {
    if (chunk[from] !== frameNumbers.client.reply || to - from < payloadAt || chunk[from + codeAt] !== 0)
      return undefined
    // Receivers' verdicts have the same numbers among all verdicts.
    const verdict = chunk[from + verdictAt] ?? 0
    if (verdict >= replyVerdicts.length) return undefined
    const publication = this.#publication
    const asker = chunk.toString('hex', from + sessionAt, from + requestAt)
    if (asker !== this.asker) {
      this.asker = asker
      publication.channel = `session/${asker}`
    }
    this.request = chunk.readUInt32BE(from + requestAt)
    publication.number = chunk.readUInt32BE(from + numberAt)
    this.#maker.about(this.request, verdict)
    const flags = (chunk[from + flagsAt] ?? 0) & (flag.again | flag.bytes)
    this.#maker.set(publication.number, flags, chunk, from + payloadAt, to)
    return publication
  }
}
