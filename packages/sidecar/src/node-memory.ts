import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { nodeStates } from '@damon/protocol/records'
import { z } from 'zod'

const shape = z.object({
  version: z.literal(1),
  state: z.enum(nodeStates),
  reasons: z.array(z.string()),
  /** Unix ms. */
  since: z.number(),
  played: z.boolean(),
  /** Unix ms of each failing address. */
  bans: z.array(z.tuple([z.string(), z.number()])),
})

/** What a sidecar must still know of a node after a restart. */
export type Remembered = Omit<z.output<typeof shape>, 'version'>

/** Keeps it somewhere; both MUST NOT lose an older text when the newer cannot be written. */
export interface NodeMemory {
  /** Undefined when there is none, or none that can be read: a damaged one is as good as none. */
  load(): Promise<Remembered | undefined>
  save(remembered: Remembered): Promise<void>
}

/** One JSON file, replaced in one step. */
export function nodeMemoryFile(path: string): NodeMemory {
  let saving = Promise.resolve()
  const write = async (remembered: Remembered): Promise<void> => {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const next = `${path}.next`
    await writeFile(next, `${JSON.stringify({ version: 1, ...remembered })}\n`, { mode: 0o600 })
    await rename(next, path)
  }
  return {
    async load() {
      try {
        const { version: _, ...remembered } = shape.parse(JSON.parse(await readFile(path, 'utf8')))
        return remembered
      } catch {
        return undefined
      }
    },
    save(remembered) {
      const saved = saving.then(() => write(remembered))
      saving = saved.catch(() => {})
      return saved
    },
  }
}
