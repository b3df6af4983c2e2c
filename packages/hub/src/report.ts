/** What a worker tells its primary over IPC. */
export type WorkerReport =
  | { kind: 'up'; origin: number; port: number; reachable: boolean }
  | { kind: 'reachable'; reachable: boolean }
  /** Told every second from the first moment: its event loop turns. */
  | { kind: 'alive' }

/** What a primary tells a worker. */
export interface PrimaryOrder {
  kind: 'stop'
}
