import { readConfig } from '@damon/runtime/config'
import { createLogger } from '@damon/runtime/logger'
import { eventually } from '@damon/testkit/eventually'
import { FakeDocker } from '@damon/testkit/fake-docker'
import { FakeLavalink } from '@damon/testkit/fake-lavalink'
import { expect, test } from 'vitest'
import { NodeAnnouncement } from '../src/announcement.ts'
import { AudioNode } from '../src/audio-node.ts'
import { systemClock } from '../src/clock.ts'
import { sidecarConfig } from '../src/config.ts'
import { dockerEngine } from '../src/docker-engine.ts'
import { containerCare, withContainers } from '../src/docker-nodes.ts'
import { blameOf, runContainerHealth, runContainerLog } from '../src/evidence/container.ts'
import { lavalinkRest } from '../src/lavalink-rest.ts'
import { defaultThresholds as limits } from '../src/thresholds.ts'
import { RecordStore } from './record-store.ts'

const log = createLogger({ service: 'sidecar', level: 'silent' })
const never = new AbortController().signal
const labels = (service: string, number = 1) => ({
  'com.docker.compose.project': 'audio',
  'com.docker.compose.service': service,
  'com.docker.compose.container-number': String(number),
})
const env = ['SERVER_PORT=6978', 'LAVALINK_SERVER_PASSWORD=youshallnotpass']

/** A daemon with the sidecar's own container and a Lavalink beside it. */
async function compose() {
  const daemon = await FakeDocker.start()
  daemon.add({
    id: '5c5c5c5c5c5c',
    name: 'audio-sidecar-1',
    labels: labels('sidecar'),
    networks: { audio: '172.20.0.3' },
  })
  daemon.add({
    id: '1a1a1a1a1a1a',
    name: 'audio-lavalink-1',
    labels: labels('lavalink'),
    env: [...env],
    health: 'healthy',
    networks: { audio: '172.20.0.2' },
  })
  daemon.add({ id: '9d9d9d9d9d9d', name: 'other', labels: { 'com.docker.compose.project': 'other' } })
  return daemon
}

const configOf = (variables: Record<string, string> = {}) => readConfig(sidecarConfig, { DOCKER: 'yes', ...variables })
const search = (machine = '5c5c5c5c5c5c') => ({ id: 'fra1', log, stopping: never, machine })

test('finds the Lavalink of its own compose project, with port, password and address blocks', async () => {
  await using daemon = await compose()
  daemon.containers[1]!.env.push(
    'LAVALINK_SERVER_RATELIMIT_IP_BLOCKS_0=2001:db8::1/128',
    'LAVALINK_SERVER_RATELIMIT_IPBLOCKS_1=2001:db8::2/128',
    'LAVALINK_SERVER_RATELIMIT_STRATEGY=LoadBalance',
  )
  const nodes = await withContainers(dockerEngine(daemon.host), [], configOf(), search())
  expect(nodes).toMatchObject([
    {
      id: 'fra1',
      url: new URL('http://audio-lavalink-1:6978'),
      container: 'audio-lavalink-1',
      pool: { strategy: 'LoadBalance', blocks: ['2001:db8::1/128', '2001:db8::2/128'] },
    },
  ])
  expect(nodes[0]!.password.reveal()).toBe('youshallnotpass')
})

test('finds every one of several, and reaches them where it is itself on the network of the host', async () => {
  await using daemon = await compose()
  daemon.containers[0]!.networkMode = 'host'
  daemon.containers[1]!.networkMode = 'host'
  daemon.add({
    id: '2b2b2b2b2b2b',
    name: 'audio-lavalink-2',
    labels: labels('lavalink', 2),
    env,
    networks: { audio: '172.20.0.4' },
  })
  const nodes = await withContainers(
    dockerEngine(daemon.host),
    [],
    configOf({ DOCKER_PROJECT: 'audio' }),
    search('vps'),
  )
  expect(nodes.map(({ id, url }) => [id, url.host])).toEqual([
    ['fra1-1', '127.0.0.1:6978'],
    ['fra1-2', '172.20.0.4:6978'],
  ])
})

test('takes what the container does not say from the mounted application.yml', async () => {
  await using daemon = await compose()
  daemon.containers[1]!.env.length = 0
  const yml = 'server:\n  port: 7000\nlavalink:\n  server:\n    password: from the file\n'
  const nodes = await withContainers(dockerEngine(daemon.host), [], configOf({ LAVALINK_CONFIG: yml }), search())
  expect(nodes[0]).toMatchObject({ url: new URL('http://audio-lavalink-1:7000') })
  expect(nodes[0]!.password.reveal()).toBe('from the file')
})

test('asks for nothing but what the allow-list names', async () => {
  await using daemon = await compose()
  const docker = dockerEngine(daemon.host)
  await withContainers(docker, [], configOf(), search())
  await docker.stop('audio-lavalink-1', 30)
  expect(new Set(daemon.requests)).toEqual(
    new Set([
      'GET /containers/5c5c5c5c5c5c/json',
      'GET /containers/json',
      'GET /containers/1a1a1a1a1a1a/json',
      'POST /containers/audio-lavalink-1/stop',
    ]),
  )
})

test('stopping what is stopped, or gone, has succeeded; a refusal has not', async () => {
  await using daemon = await compose()
  const docker = dockerEngine(daemon.host)
  await docker.stop('audio-lavalink-1', 30)
  await docker.stop('audio-lavalink-1', 30)
  await docker.stop('gone', 30)
  const { stop } = containerCare(docker, 'audio-lavalink-1', { DOCKER_STOP: false }, log)
  expect(stop).toBeUndefined()
  await daemon.stop()
  await expect(docker.stop('audio-lavalink-1', 30)).rejects.toThrow()
})

/** A node with a container on the daemon. */
async function watched(daemon: FakeDocker) {
  const fake = await FakeLavalink.start()
  const ending = new AbortController()
  const node = new AudioNode({
    lavalink: lavalinkRest({ url: new URL(fake.url), password: fake.password, timeoutMs: 10_000 }),
    announcement: new NodeAnnouncement({ announcer: new RecordStore(), id: 'fra1', password: fake.password }),
    place: () => undefined,
    rhythm: { pollMs: 1_000, quickMs: 1_000, refusedMs: 1_000 },
    clock: systemClock,
    log,
    limits,
    canary: false,
  })
  const options = { docker: dockerEngine(daemon.host), name: 'audio-lavalink-1', againMs: 10, clock: systemClock, log }
  const tasks: Promise<void>[] = []
  return {
    node,
    begin: (run: typeof runContainerLog) => void tasks.push(run(node, options, ending.signal).catch(() => {})),
    async [Symbol.asyncDispose]() {
      ending.abort()
      await Promise.all(tasks)
      await fake[Symbol.asyncDispose]()
    },
  }
}

test('hears of the health of the container, also of what happened while the daemon restarted', async () => {
  await using daemon = await compose()
  await using way = await watched(daemon)
  const health = () => way.node.evidence.container.at(-1)?.health
  const lavalink = daemon.containers[1]!
  way.begin(runContainerHealth)
  await eventually(() => expect([health(), daemon.readers]).toEqual(['healthy', 1]))
  lavalink.health = 'unhealthy'
  daemon.emit(lavalink.id, 'health_status: unhealthy')
  await eventually(() => expect(health()).toBe('unhealthy'))
  await daemon.stop()
  lavalink.running = false
  await daemon.start()
  await eventually(() => expect(health()).toBe('stopped'))
  await eventually(() => expect(daemon.since.length).toBeGreaterThan(1))
  // Resumed where it heard the last.
  expect(Number(daemon.since.at(-1))).toBeGreaterThan(Number(daemon.since[0]))
  lavalink.running = true
  lavalink.health = 'starting'
  daemon.emit(lavalink.id, 'start')
  await eventually(() => expect(health()).toBe('starting'))
})

test('reads WARN lines however they are cut, and none twice', async () => {
  await using daemon = await compose()
  await using way = await watched(daemon)
  const { id } = daemon.containers[1]!
  const classes = () => way.node.evidence.log.map((line) => line.class)
  way.begin(runContainerLog)
  await eventually(() => expect(daemon.followers).toBe(1))
  daemon.write(id, 'WARN [lava-daemon] YouTube rate limit reached, marking address /2001:db8::1 as failing and retry')
  daemon.write(id, 'INFO rate limit reached')
  daemon.write(id, 'WARN java.net.BindException: Cannot assign requested address – ä')
  await eventually(() => expect(classes()).toEqual(['rate', 'bind']))
  await daemon.stop()
  await daemon.start()
  await eventually(() => expect(daemon.followers).toBe(1))
  expect(classes()).toEqual(['rate', 'bind'])
})

test.each([
  ['2026-11-23 WARN 1 --- YouTube rate limit reached, marking address /1.2.3.4 as failing', 'rate'],
  ['WARN YouTube search rate limit reached', 'rate'],
  ['ERROR Sign in to confirm you’re not a bot', 'bot'],
  ['WARN Cannot assign requested address', 'bind'],
  ['INFO YouTube rate limit reached', undefined],
  ['WARN This video is unavailable', undefined],
  ['WARN something else', undefined],
])('the log line "%s" tells of %s', (line, expected) => {
  expect(blameOf(line)).toBe(expected)
})
