import { z } from 'zod'
import type { Order } from './issuer.ts'
import type { Token } from './rate-limits.ts'
import type { Store } from './store.ts'

const schema = z.object({
  names: z.array(z.string()),
  keyType: z.string(),
  profile: z.string().optional(),
  /** Fingerprint of the certificate that was in use when the order began. */
  after: z.string().optional(),
  /** PEM */
  key: z.string(),
  /** PEM */
  csr: z.string(),
  /** Where the authority keeps the order, once it was made. */
  url: z.string().optional(),
  /** What it took from the limits. */
  spent: z.array(z.object({ limit: z.string(), of: z.string() })),
})

/** An order under way. Key and request are stored before the authority hears of it, the URL as soon as it is known. */
export type OpenOrder = Omit<z.output<typeof schema>, 'spent'> & { spent: readonly Token[] }

/** The orders of one issuer that are under way: what it takes to go on after a crash. */
export class OpenOrders {
  readonly #store: Store
  readonly #folder: string

  constructor(store: Store, issuer: string) {
    this.#store = store
    this.#folder = `order/${issuer}`
  }

  /** The order of a certificate that was begun. */
  async read(id: string): Promise<OpenOrder | undefined> {
    const content = await this.#store.read(`${this.#folder}/${id}`)
    return content && (schema.safeParse(JSON.parse(Buffer.from(content).toString())).data as OpenOrder | undefined)
  }

  /** Keeps it as it is now. */
  async write(id: string, order: OpenOrder): Promise<void> {
    await this.#store.write(`${this.#folder}/${id}`, JSON.stringify(order))
  }

  /** It is over. */
  async forget(id: string): Promise<void> {
    await this.#store.remove(`${this.#folder}/${id}`)
  }
}

/** Whether an order that was begun is the one that is asked for now. */
export function isFor(open: OpenOrder, { names, keyType, profile, current }: Order): boolean {
  return (
    open.names.join(' ') === names.join(' ') &&
    open.keyType === keyType &&
    open.profile === profile &&
    open.after === current?.fingerprint
  )
}
