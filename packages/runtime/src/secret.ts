import { inspect } from 'node:util'

const mask = '[secret]'

/** A value that shows itself only when asked by `reveal()`: printed, logged or serialised it is `[secret]`. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The value itself; never put it into a log, an error text or a command line. */
  reveal(): string {
    return this.#value
  }

  toString(): string {
    return mask
  }

  toJSON(): string {
    return mask
  }

  [Symbol.toPrimitive](): string {
    return mask
  }

  [inspect.custom](): string {
    return mask
  }
}

/** A function that replaces every occurrence of the secrets' values in a text, also JSON-escaped or as a URL's password. */
export function concealer(secrets: readonly Secret[]): (text: string) => string {
  const forms = [...new Set(secrets.flatMap((secret) => formsOf(secret.reveal())))].sort((a, b) => b.length - a.length)
  return (text) => forms.reduce((concealed, form) => concealed.replaceAll(form, mask), text)
}

/** Every secret inside a value, however deep. */
export function secretsIn(value: unknown): Secret[] {
  if (value instanceof Secret) return [value]
  if (Array.isArray(value)) return value.flatMap(secretsIn)
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(secretsIn)
  return []
}

function formsOf(value: string): string[] {
  const password = URL.parse(value)?.password
  const values = password ? [value, password, decodeURIComponent(password)] : [value]
  // A file's value was trimmed at its end; an inner part of a few characters would only shred the text.
  return values.flatMap((form) => [form, JSON.stringify(form).slice(1, -1)]).filter((form) => form.length >= 4)
}
