import type { Hub } from '@damon/client/hub'
import { nodeRecord, nodeSecret } from '@damon/protocol/records'

/** An audio node with all that a Lavalink library needs: url `host:port`, secure, password. */
export interface AudioNode {
  id: string
  state: string
  host: string
  port: number
  secure: boolean
  password: string
  players: number
}

/** The audio nodes as the hub knows them now; it stays true by itself, also over reconnects. */
export interface AudioNodes extends Disposable {
  all(): AudioNode[]
  /** Those that may be given new players, the emptiest first. */
  usable(): AudioNode[]
  /** Calls back after every change of any node. */
  onChange(listener: () => void): Disposable
}

/** Watches `node/` and `node-secret/`; resolves once both are complete. */
export async function watchAudioNodes(hub: Hub): Promise<AudioNodes> {
  const nodes = hub.watch('node/')
  const secrets = hub.watch('node-secret/')
  await Promise.all([nodes.ready(), secrets.ready()])

  const all = (): AudioNode[] =>
    [...nodes.entries.values()].flatMap((entry) => {
      const id = entry.key.slice('node/'.length)
      const node = nodeRecord.safeParse(entry.value)
      const secret = nodeSecret.safeParse(secrets.entries.get(`node-secret/${id}`)?.value)
      if (!node.success || !secret.success) return []
      const { state, address, load } = node.data
      // A suspect entry is one whose sidecar is away: it works, but nobody looks after it.
      const known = entry.state === 'live' ? state : 'suspect'
      return [{ id, state: known, ...address, password: secret.data.password, players: load?.players ?? 0 }]
    })
  return {
    all,
    usable: () =>
      all()
        .filter(({ state }) => state === 'ready')
        .sort((a, b) => a.players - b.players),
    onChange(listener) {
      const stack = new DisposableStack()
      for (const watch of [nodes, secrets]) stack.use(watch.on('change', listener))
      return stack
    },
    [Symbol.dispose]() {
      nodes[Symbol.dispose]()
      secrets[Symbol.dispose]()
    },
  }
}
