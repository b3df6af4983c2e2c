import { readFile } from 'node:fs/promises'
import { DamonError, damonError } from '@damon/protocol/errors'
import type { Logger } from '@damon/runtime/logger'
import type { PublicJwk } from '@damon/trust/keys'
import { type TrustList, verifyTrustList } from '@damon/trust/trust-list'

/** How often the file is looked at, ms. */
const lookMs = 1_000

/** A trust list with its signed text. */
interface Signed {
  text: string
  list: TrustList
}

/**
 * Follows the file that holds the trust list: a newer one of the same root takes effect while the hub runs. One that is older,
 * changed without a higher `seq`, not signed by the root, or for development where that is not allowed, is refused and the
 * current one stays.
 */
export class TrustFile implements Disposable {
  readonly #path: string
  readonly #root: PublicJwk
  readonly #aud: string
  readonly #dev: boolean
  readonly #log: Logger
  readonly #changed: (text: string, seq: number) => void
  #current: Signed
  #refused = ''
  #timer: NodeJS.Timeout
  #looking: Promise<void> | undefined

  constructor(options: {
    path: string
    root: PublicJwk
    aud: string
    /** Whether a list for development is good enough. */
    dev: boolean
    /** What the hub started with. */
    current: Signed
    log: Logger
    /** Called with each list that is good. */
    changed: (text: string, seq: number) => void
  }) {
    this.#path = options.path
    this.#root = options.root
    this.#aud = options.aud
    this.#dev = options.dev
    this.#current = options.current
    this.#log = options.log
    this.#changed = options.changed
    this.#timer = setInterval(() => this.look(), lookMs)
  }

  /** The list that counts, signed. */
  get text(): string {
    return this.#current.text
  }

  /** Looks at the file now; resolves when what is new there counts, or was refused. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    let text = ''
    try {
      text = (await readFile(this.#path, 'utf8')).trim()
      if (text === this.#current.text || text === this.#refused) return
      const list = await verifyTrustList(text, this.#root, { aud: this.#aud })
      this.#check(list)
      this.#current = { text, list }
      this.#refused = ''
      this.#log.info({ seq: list.seq, issuers: list.issuers.map(({ kid }) => kid) }, 'a new trust list counts')
      this.#changed(text, list.seq)
    } catch (error) {
      // A file that is being written is read again.
      if (!(error instanceof DamonError) && this.#refused === '?') return
      this.#refused = error instanceof DamonError ? text : '?'
      this.#log.error(
        { err: error, seq: this.#current.list.seq },
        'the trust list of the file is refused: the one before stays',
      )
    }
  }

  #check({ seq, dev }: TrustList): void {
    if (seq <= this.#current.list.seq)
      throw damonError('bad_trust_list', `Its seq is ${seq}, that of the current one ${this.#current.list.seq}.`)
    if (dev && !this.#dev) throw damonError('bad_trust_list', 'It is for development.', { field: 'dev' })
  }
}
