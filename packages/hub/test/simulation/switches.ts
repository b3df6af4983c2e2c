import { Positions } from '@damon/client/positions'
import { EmbeddedState } from '../../src/embedded/state.ts'
import { Grouping } from '../../src/grouping.ts'
import { Publisher } from '../../src/publisher.ts'

/**
 * The rules that nothing is lost and nothing comes twice by, each of which can be switched off: the simulation has to find
 * out. They are switched off from outside, since no hub that serves should be able to.
 */
export const rules = {
  /** A client takes a frame that a sender repeats only if it has not seen its number. */
  again: () => replace(Positions.prototype, 'passSender', () => () => true),
  /** A client takes no frame that is not above its position. */
  positions: () => replace(Positions.prototype, 'pass', (pass) => (origin, to, seq) => pass(origin, to, seq) || true),
  /** A position is of an origin and a destination. */
  'a position per destination': () =>
    replace(Positions.prototype, 'pass', (pass) => (origin, _, seq) => pass(origin, 'all', seq)),
  /** A worker that is fenced appends and releases nothing more. */
  fence: () =>
    both(
      replace(EmbeddedState.prototype, 'has', () => () => true),
      replace(EmbeddedState.prototype, 'renew', () => () => true),
    ),
  /** A frame does not overtake its sender's earlier one on its way to another destination. */
  'order across destinations': () =>
    replace(
      Grouping.prototype,
      'add',
      (add) => (lane, kind, fast, place, frame, seq) => add(lane, kind, fast, { ...place, index: -1 }, frame, seq),
    ),
  /** What is for one member of a group goes to it by the log, since another one may get it when it is repeated. */
  'any by the log': () =>
    replace(Publisher.prototype, 'publish', (publish) => (publication) => {
      const { around, ...rest } = publication
      publish(rest)
    }),
}

/** Clients find out by themselves what is late: that can be switched off as well. */
export const onlyHubsSayLate = () => replace(Positions.prototype, 'inTurn', () => () => true)

export type Rule = keyof typeof rules

/** Puts another function into the place of one until disposed; `make` gets the first one. */
export function replace<Of extends object, Name extends keyof Of>(
  of: Of,
  name: Name,
  make: (
    before: Of[Name] extends (...args: infer Args) => infer Result ? (...args: Args) => Result : never,
  ) => Of[Name],
): Disposable {
  const before = of[name]
  const replacement = function (this: Of, ...args: unknown[]) {
    const bound = (before as (...args: unknown[]) => unknown).bind(this)
    return (make(bound as never) as (...args: unknown[]) => unknown)(...args)
  }
  of[name] = replacement as Of[Name]
  return {
    [Symbol.dispose]() {
      of[name] = before
    },
  }
}

function both(...all: Disposable[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const one of all) one[Symbol.dispose]()
    },
  }
}
