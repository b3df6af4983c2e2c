import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { type RedisServer, startRedis } from './redis-server.ts'

const run = promisify(execFile)

/** One node of a cluster. */
export interface RedisNode extends RedisServer {
  /** Its name in the cluster, 40 hex digits. */
  readonly id: string
  /** What it answers to a command; rejects when that is an error. */
  command(...words: string[]): Promise<string>
}

/** A real Redis Cluster on loopback; it ends when disposed. */
export interface RedisCluster extends AsyncDisposable {
  /** URLs of the first three nodes, with commas between. */
  readonly url: string
  readonly nodes: readonly RedisNode[]
  /** The node that serves the slot of a key, as the others see it. */
  ownerOf(key: string): Promise<RedisNode>
  /** Moves the slot of a key, and what is in it, to another node; resolves when all nodes know. */
  move(key: string, to: RedisNode): Promise<void>
  /** Adds a replica of a node; resolves when it has all its data. */
  replicate(node: RedisNode): Promise<RedisNode>
}

const patience = { deadlineMs: 30_000 }
const slots = 16_384

/** Starts three primaries that share the slots. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const nodes: RedisNode[] = []
  const disposeAll = async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]()
  }
  const join = async (node: RedisNode, busPort: number) => {
    const [first] = nodes
    if (first) await first.command('CLUSTER', 'MEET', '127.0.0.1', String(node.port), String(busPort))
    nodes.push(node)
  }
  const agreed = () =>
    eventually(async () => {
      for (const node of nodes) {
        const info = await node.command('CLUSTER', 'INFO')
        const known = Number(/cluster_known_nodes:(\d+)/.exec(info)?.[1])
        if (!info.includes('cluster_state:ok') || known !== nodes.length) throw new Error(`They do not agree:\n${info}`)
      }
    }, patience)
  try {
    for (let i = 0; i < 3; i++) {
      const { node, busPort } = await startNode()
      await join(node, busPort)
      const [from, to] = [Math.floor((slots * i) / 3), Math.floor((slots * (i + 1)) / 3) - 1]
      await node.command('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to))
    }
    await agreed()
  } catch (error) {
    await disposeAll()
    throw error
  }
  const asked = () => nodes[0] as RedisNode
  const ownerOf = async (key: string, by: RedisNode = asked()) => {
    const slot = Number(await by.command('CLUSTER', 'KEYSLOT', key))
    for (const line of (await by.command('CLUSTER', 'NODES')).split('\n')) {
      const [id, , flags = '', , , , , link, ...ranges] = line.split(' ')
      if (!flags.includes('master') || flags.includes('fail') || link === undefined) continue
      const has = ranges.some((range) => {
        const [from, to = from] = range.split('-').map(Number)
        return from !== undefined && from <= slot && slot <= (to as number)
      })
      const node = nodes.find((node) => node.id === id)
      if (has && node) return node
    }
    throw new Error(`Nobody serves slot ${slot}.`)
  }
  return {
    url: nodes.map(({ url }) => url).join(','),
    nodes,
    ownerOf,
    async move(key, to) {
      const from = await ownerOf(key)
      const slot = await from.command('CLUSTER', 'KEYSLOT', key)
      await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id)
      await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id)
      for (;;) {
        const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', slot, '5')).split('\n').filter(Boolean)
        if (keys.length === 0) break
        await from.command('MIGRATE', '127.0.0.1', String(to.port), '', '0', '5000', 'KEYS', ...keys)
      }
      for (const node of [to, from, ...nodes]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
      await eventually(async () => {
        for (const node of nodes) if ((await ownerOf(key, node)) !== to) throw new Error('Not all know it yet.')
      }, patience)
    },
    async replicate(of) {
      const { node, busPort } = await startNode()
      await join(node, busPort)
      await agreed()
      await eventually(() => node.command('CLUSTER', 'REPLICATE', of.id), patience)
      await eventually(async () => {
        const info = await node.command('INFO', 'replication')
        if (!info.includes('role:slave') || !info.includes('master_link_status:up')) throw new Error(info)
      }, patience)
      return node
    },
    [Symbol.asyncDispose]: disposeAll,
  }
}

async function startNode(): Promise<{ node: RedisNode; busPort: number }> {
  const busPort = await freePort()
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-port': String(busPort),
    'cluster-node-timeout': '1000',
    'cluster-require-full-coverage': 'no',
    'cluster-allow-replica-migration': 'no',
    'repl-diskless-sync-delay': '0',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const server = await startRedis({ args })
  const command = async (...words: string[]) => {
    const { stdout } = await run('redis-cli', ['-e', '-p', String(server.port), ...words])
    return stdout.trim()
  }
  const node: RedisNode = Object.assign(server, { id: await command('CLUSTER', 'MYID'), command })
  return { node, busPort }
}
