import type { RecordEntry } from '@damon/client/record-entry'
import type * as z from 'zod/mini'

/** Records whose value is of a shape, with the key and state of each; others are left out: a newer service may write them. */
export function readEntries<S extends z.ZodMiniType>(
  entries: readonly RecordEntry[],
  schema: S,
): { key: string; state: RecordEntry['state']; value: z.output<S> }[] {
  return entries
    .toSorted((a, b) => (a.key < b.key ? -1 : 1))
    .flatMap(({ key, state, value }) => {
      const parsed = schema.safeParse(value)
      return parsed.success ? [{ key, state, value: parsed.data }] : []
    })
}
