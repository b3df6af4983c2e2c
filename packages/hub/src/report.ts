/** What a worker tells its primary over IPC. */
export type WorkerReport =
  | { kind: 'up'; origin: number; port: number; reachable: boolean }
  | { kind: 'reachable'; reachable: boolean }
  /** Told every second from the first moment: its event loop turns. */
  | { kind: 'alive'; sessions: number }
  /** It shows the certificate with this fingerprint. */
  | { kind: 'presents'; fingerprint: string }
  /** An operator wishes that all workers are replaced; every worker hears of the same wish. */
  | { kind: 'roll'; wish: string }

/** What a primary tells a worker. */
export type PrimaryOrder =
  /** Lets its clients go within that time, to one of these hubs where there are any, and ends. */
  | { kind: 'stop'; withinMs: number; hubs: string[] }
  | ({ kind: 'present' } & HubCertificate)
  /** Takes new connections, or leaves them to others. */
  | { kind: 'accept'; accepts: boolean }
  /** Sends so many of its clients away within that time: they connect again, to a worker that takes them. */
  | { kind: 'part'; count: number; withinMs: number }
  /** Knows these tokens from now on: a trust list, verified. */
  | { kind: 'trust'; list: string }

/** The certificate that the hub's TLS servers show, both PEM, the chain leaf first. */
export interface HubCertificate {
  key: string
  chain: string
  /** SHA-256 of the leaf's DER, hex. */
  fingerprint: string
}
