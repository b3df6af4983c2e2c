import { nodeStates } from '@damon/protocol/records'
import { counter, gauge } from '@damon/runtime/metrics'
import type { Registry } from 'prom-client'
import type { AudioNode } from './audio-node.ts'

/** Counts what is seen of each node into a registry; call the function once for each. */
export function nodeMetrics(registry: Registry): (id: string, node: AudioNode) => Disposable {
  const state = gauge(registry, {
    name: 'damon_sidecar_node_state',
    help: '1 for the state the node is in, else 0',
    labelNames: ['node', 'state'],
  })
  const playing = gauge(registry, {
    name: 'damon_sidecar_node_playing_players',
    help: 'Players that play, as Lavalink tells',
    labelNames: ['node'],
  })
  const load = gauge(registry, {
    name: 'damon_sidecar_node_system_load',
    help: 'CPU of the machine, 0 to 1',
    labelNames: ['node'],
  })
  const failing = gauge(registry, {
    name: 'damon_sidecar_node_failing_addresses',
    help: 'Addresses of a finite pool that failed within a week',
    labelNames: ['node'],
  })
  const looks = counter(registry, {
    name: 'damon_sidecar_looks_total',
    help: 'Looks at Lavalink by what they gave',
    labelNames: ['node', 'result'],
  })
  const canaries = counter(registry, {
    name: 'damon_sidecar_canaries_total',
    help: 'Test loads of tracks by what they gave',
    labelNames: ['node', 'result'],
  })
  const starts = counter(registry, {
    name: 'damon_sidecar_reported_starts_total',
    help: 'Starts of tracks that bots reported',
    labelNames: ['node'],
  })
  const failures = counter(registry, {
    name: 'damon_sidecar_reported_failures_total',
    help: 'Failed starts that bots reported, by class',
    labelNames: ['node', 'class'],
  })
  return (id, node) => {
    for (const name of nodeStates) state.set({ node: id, state: name }, name === node.health.state ? 1 : 0)
    let shown = node.health.state
    return node.on('judged', (observation) => {
      if (node.health.state !== shown) {
        state.set({ node: id, state: shown }, 0)
        shown = node.health.state
        state.set({ node: id, state: shown }, 1)
      }
      switch (observation?.source) {
        case 'look': {
          const { look } = observation
          looks.inc({ node: id, result: look.kind })
          if (look.kind !== 'well') return
          playing.set({ node: id }, look.load.playingPlayers)
          load.set({ node: id }, look.load.systemLoad)
          return
        }
        case 'canary':
          canaries.inc({ node: id, result: observation.load.kind === 'loaded' ? 'loaded' : observation.load.class })
          return
        case 'outcomes':
          starts.inc({ node: id }, observation.starts)
          for (const [name, count] of Object.entries(observation.failed)) failures.inc({ node: id, class: name }, count)
          return
        case 'planner':
          failing.set({ node: id }, observation.failing)
      }
    })
  }
}
