import { damonError } from '@damon/protocol/errors'
import type { Verdict } from '@damon/protocol/frames'
import { type Deferred, deferred } from './deferred.ts'

/** The final word on one receiver of a request. */
export interface Answer<T = unknown> {
  service: string
  /** Instance of the service; empty, like `session`, when the verdict `unknown` stands for receivers nobody can name any more. */
  client: string
  session: string
  verdict: Verdict
  /** What was answered. */
  value?: T
  /** What went wrong, in the receiver's or the hub's words. */
  error?: { code: string; message: string }
}

/** A piece of an answer, before the final word of that receiver. */
export type AnswerPart = Pick<Answer, 'service' | 'client' | 'session'> & { value: unknown }

/**
 * A request under way. `await` it for all answers, or `for await` each as it comes; both settle when the hub has
 * accounted for every receiver.
 */
export class Request<T = unknown> implements PromiseLike<Answer<T>[]>, AsyncIterable<Answer<T>> {
  readonly #answers: Answer<T>[] = []
  readonly #sessions = new Set<string>()
  readonly #settled: Deferred<Answer<T>[]> = deferred()
  readonly #cancel: () => void
  #over: 'no' | 'settled' | 'failed' = 'no'
  #failure: unknown
  #news: Deferred<void> = deferred()

  constructor(cancel: () => void) {
    this.#cancel = cancel
  }

  /** Whether every receiver is accounted for, or the request failed as a whole. */
  get over(): boolean {
    return this.#over !== 'no'
  }

  /** Withdraws it: the receivers that have not answered become `not_needed`. */
  cancel(): void {
    if (!this.over) this.#cancel()
  }

  // biome-ignore lint/suspicious/noThenProperty: a request is awaited like a promise
  then<A = Answer<T>[], B = never>(
    onSettled?: ((answers: Answer<T>[]) => A | PromiseLike<A>) | null,
    onFailed?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#settled.promise.then(onSettled, onFailed)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Answer<T>, void, undefined> {
    for (let i = 0; ; i++) {
      while (i >= this.#answers.length) {
        if (this.#over === 'settled') return
        if (this.#over === 'failed') throw this.#failure
        await this.#news.promise
      }
      yield this.#answers[i] as Answer<T>
    }
  }

  /** Takes an answer; the first word on a receiver stands. */
  take(answer: Answer): void {
    if (this.over || this.#sessions.has(answer.session)) return
    this.#sessions.add(answer.session)
    this.#answers.push(answer as Answer<T>)
    this.#wake()
  }

  settle(): void {
    if (this.over) return
    this.#over = 'settled'
    this.#settled.resolve([...this.#answers])
    this.#wake()
  }

  /** Settles though not all are accounted for: one `unknown` stands for the rest. */
  lose(cause: unknown): void {
    const { code, message } = damonError('unknown_outcome', undefined, { cause })
    this.take({ service: '', client: '', session: '', verdict: 'unknown', error: { code, message } })
    this.settle()
  }

  fail(error: unknown): void {
    if (this.over) return
    this.#over = 'failed'
    this.#failure = error
    this.#settled.reject(error)
    this.#wake()
  }

  #wake(): void {
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }
}
