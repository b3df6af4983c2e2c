import { type Answer, unknownAnswer } from './answer.ts'
import { type Deferred, deferred } from './deferred.ts'

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

  /** All answers, one for each receiver, when the last of them is known. */
  get all(): Promise<Answer<T>[]> {
    return this.#settled.promise
  }

  /** Each answer as it comes. Read twice, it begins anew. */
  get each(): AsyncIterable<Answer<T>> {
    return this
  }

  /** Withdraws it: the receivers that have not answered become `not_needed`, and are told so. */
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
    this.take(unknownAnswer(cause))
    this.settle()
  }

  fail(error: unknown): void {
    if (this.over) return
    this.#over = 'failed'
    this.#failure = error
    this.#settled.reject(error)
    this.#wake()
  }

  /** Fails, and is withdrawn. */
  abort(reason: unknown): void {
    if (this.over) return
    this.fail(reason)
    this.#cancel()
  }

  #wake(): void {
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }
}
