import type { NodeRecord } from '@damon/protocol/records'
import type { Announcer, LeasedRecord } from '../src/announcement.ts'

/** What happened to the records, in order: `put node/a`, `update node/a`, `drop node/a retired`. */
export class RecordStore implements Announcer {
  readonly values = new Map<string, unknown>()
  readonly log: string[] = []
  /** Set it to have every write refused. */
  refusal: Error | undefined

  /** The nodes as a fleet sees them. */
  nodes() {
    return [...this.values].flatMap(([key, value]) => {
      if (!key.startsWith('node/')) return []
      const { state, load } = value as NodeRecord
      return [{ id: key.slice('node/'.length), state, playing: load?.playingPlayers ?? 0, live: true }]
    })
  }

  announce(key: string, value: unknown): LeasedRecord {
    const write = (verb: string, change: () => void): Promise<void> => {
      if (this.refusal) return Promise.reject(this.refusal)
      this.log.push(`${verb} ${key}`)
      change()
      return Promise.resolve()
    }
    const first = write('put', () => this.values.set(key, value))
    first.catch(() => {})
    return {
      ready: () => first,
      update: (next) => write('update', () => this.values.set(key, next)),
      drop: (reason) =>
        write('drop', () => this.values.delete(key)).then(() => void this.log.push(`because ${reason}`)),
    }
  }
}
