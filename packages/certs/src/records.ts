/** A record as a watch knows it. */
export interface WatchedRecord {
  value: unknown
  leased: boolean
}

/** Everything under a prefix, kept up to date over reconnects. */
export interface RecordWatch extends Disposable {
  readonly entries: ReadonlyMap<string, WatchedRecord>
  /** Resolves when `entries` is complete for the first time. */
  ready(): Promise<void>
  on(event: 'change', listener: () => void): Disposable
}

/** The few things certs does with the hub's records; the SDK's Hub is one. */
export interface Records {
  watch(prefix: string): RecordWatch
  /** Rejects when the record cannot be put now. */
  put(key: string, value: unknown): Promise<unknown>
  /** Rejects when the record cannot be dropped now. */
  drop(key: string, reason: string): Promise<unknown>
}
