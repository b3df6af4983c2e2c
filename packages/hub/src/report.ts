/** What a worker tells its primary over IPC. */
export type WorkerReport =
  | { kind: 'up'; origin: number; port: number; reachable: boolean }
  | { kind: 'reachable'; reachable: boolean }
  /** Told every second from the first moment: its event loop turns. */
  | { kind: 'alive' }
  /** It shows the certificate with this fingerprint. */
  | { kind: 'presents'; fingerprint: string }

/** What a primary tells a worker. */
export type PrimaryOrder = { kind: 'stop' } | ({ kind: 'present' } & HubCertificate)

/** The certificate that the hub's TLS servers show, both PEM, the chain leaf first. */
export interface HubCertificate {
  key: string
  chain: string
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
}
