import { DatabaseSync } from 'node:sqlite'
import type { StoredRecord } from '../store.ts'

/** A kept record, and who wrote it. */
export type KeptRecord = StoredRecord & { subject: string }

/** Keeps what must survive the primary: kept records, the counters, and how far trust lists have come. */
export interface Kept extends Disposable {
  load(): { revision: number; origin: number; records: KeptRecord[] }
  /** MUST be on disk when it returns. */
  put(record: KeptRecord): void
  drop(key: string): void
  /** No revision up to this one may be used by a later process. */
  reserve(revision: number): void
  /** No origin up to this one may be used again. */
  origin(number: number): void
  /** The highest `seq` of a trust list by this root, 0 where none was told. */
  trusted(root: string): number
  trust(root: string, seq: number): void
}

/** Kept records in a SQLite file; `:memory:` keeps them as long as the process. */
export function openKept(file: string): Kept {
  const db = new DatabaseSync(file)
  db.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, value BLOB, revision INTEGER, generation INTEGER, subject TEXT) STRICT;
    CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER) STRICT;
  `)
  // A file of before subjects were counted.
  if (!db.prepare("SELECT 1 FROM pragma_table_info('record') WHERE name = 'subject'").get())
    db.exec('ALTER TABLE record ADD COLUMN subject TEXT')
  const set = db.prepare('INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const get = db.prepare('SELECT value FROM counter WHERE name = ?')
  const upsert = db.prepare('INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)')
  const remove = db.prepare('DELETE FROM record WHERE key = ?')
  const counter = (name: string) => Number(get.get(name)?.value ?? 0)
  return {
    load() {
      const records = db.prepare('SELECT key, value, revision, generation, subject FROM record').all()
      return {
        revision: counter('revision'),
        origin: counter('origin'),
        records: records.map((row) => ({
          key: String(row.key),
          value: Buffer.from(row.value as Uint8Array).toString('latin1'),
          revision: Number(row.revision),
          generation: Number(row.generation),
          subject: String(row.subject ?? ''),
          leased: false,
          state: 'live' as const,
        })),
      }
    },
    put(record) {
      upsert.run(record.key, Buffer.from(record.value, 'latin1'), record.revision, record.generation, record.subject)
    },
    drop(key) {
      remove.run(key)
    },
    reserve(revision) {
      set.run('revision', revision)
    },
    origin(number) {
      set.run('origin', number)
    },
    trusted: (root) => counter(`trust ${root}`),
    trust(root, seq) {
      set.run(`trust ${root}`, seq)
    },
    [Symbol.dispose]() {
      db.close()
    },
  }
}
