import { type DamonError, damonError } from '@damon/protocol/errors'
import { Announcement, type AnnouncementHome } from './announcement.ts'
import type { RecordContract } from './contract.ts'
import { checkKey, keyOf } from './records.ts'

/** The records that this client keeps alive, by key. */
export class Announcements {
  readonly #home: Omit<AnnouncementHome, 'forget'>
  readonly #byKey = new Map<string, Announcement>()

  constructor(home: Omit<AnnouncementHome, 'forget'>) {
    this.#home = home
  }

  announce<T>(record: string | RecordContract, value: T): Announcement<T> {
    const key = keyOf(record)
    checkKey(key)
    if (this.#byKey.has(key))
      throw damonError('bad_field', `key: "${key}" is announced already. Update that one.`, { field: 'key' })
    const announcement = new Announcement<T>(key, value, { ...this.#home, forget: () => this.#byKey.delete(key) })
    this.#byKey.set(key, announcement as Announcement)
    return announcement
  }

  /** A session began, or goes on. `kept`: its records were never in doubt. */
  up(kept: boolean): void {
    for (const announcement of this.#byKey.values()) announcement.up(kept)
  }

  close(error: DamonError): void {
    for (const announcement of this.#byKey.values()) announcement.close(error)
    this.#byKey.clear()
  }
}
