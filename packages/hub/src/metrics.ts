import { type ClientFrame, frameNumbers, type HubFrame, type Verdict, verdicts } from '@damon/protocol/frames'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** What a worker counts. Label values come from closed tables, never from clients. */
export interface Metrics {
  sessions: Gauge
  /** Counts a frame that came in. */
  received(type: ClientFrame['type']): void
  /** Counts a control frame that goes out. */
  sent(type: HubFrame['type']): void
  delivered: Counter
  appends: Counter<'result'>
  appendSeconds: Histogram
  refused: Counter<'code'>
  closed: Counter<'reason'>
  gaps: Counter<'where'>
  /** Holes in what the bus brought: all that were found, and what became of them. */
  holes: Counter<'result'>
  garbled: Counter
  dropped: Counter
  memoryTight: Gauge
  turnedAway: Counter<'reason'>
  slowSessions: Gauge
  slowTotal: Counter
  openRequests: Gauge
  /** Counts a verdict that counts. */
  verdict(verdict: Verdict): void
  lateReplies: Counter
  recollected: Counter<'result'>
  records: Gauge
  resyncs: Counter
  watches: Counter<'how'>
  storeReachable: Gauge
  resumes: Counter<'result'>
  resumeSeconds: Histogram
  replayed: Counter
  /** Shows what this says. */
  replayBytes(held: () => number): void
}

/** Registers a worker's metrics. */
export function createMetrics(registry: Registry): Metrics {
  const registers = [registry]
  // Counted for every frame: too often for a look-up by labels.
  const received = noneOf(frameNumbers.client)
  const sent = noneOf(frameNumbers.hub)
  new Counter({
    name: 'damon_hub_frames_total',
    help: 'Frames in, control frames out, by type',
    labelNames: ['direction', 'type'],
    registers,
    collect() {
      this.reset()
      for (const [type, count] of Object.entries(received)) this.inc({ direction: 'in', type }, count)
      for (const [type, count] of Object.entries(sent)) this.inc({ direction: 'out', type }, count)
    },
  })
  const given = Object.fromEntries(verdicts.map((verdict) => [verdict, 0])) as Record<Verdict, number>
  new Counter({
    name: 'damon_hub_verdicts_total',
    help: 'Verdicts on receivers of requests',
    labelNames: ['verdict'],
    registers,
    collect() {
      this.reset()
      for (const [verdict, count] of Object.entries(given)) this.inc({ verdict }, count)
    },
  })
  return {
    sessions: new Gauge({ name: 'damon_hub_sessions', help: 'Open sessions', registers }),
    received: (type) => {
      received[type]++
    },
    sent: (type) => {
      sent[type]++
    },
    delivered: new Counter({ name: 'damon_hub_delivered_total', help: 'Messages given to sessions', registers }),
    appends: new Counter({
      name: 'damon_hub_appends_total',
      help: 'Appends to the log',
      labelNames: ['result'],
      registers,
    }),
    appendSeconds: new Histogram({
      name: 'damon_hub_append_seconds',
      help: 'Time until an append was confirmed',
      buckets: [0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 1],
      registers,
    }),
    refused: new Counter({
      name: 'damon_hub_refused_total',
      help: 'Frames refused, by error code',
      labelNames: ['code'],
      registers,
    }),
    closed: new Counter({
      name: 'damon_hub_closed_total',
      help: 'Connections closed, by reason',
      labelNames: ['reason'],
      registers,
    }),
    gaps: new Counter({
      name: 'damon_hub_gaps_total',
      help: 'Gaps told to sessions, by where they arose',
      labelNames: ['where'],
      registers,
    }),
    holes: new Counter({
      name: 'damon_hub_holes_total',
      help: 'Holes in what the bus brought: found, and then repaired from the log or not',
      labelNames: ['result'],
      registers,
    }),
    garbled: new Counter({
      name: 'damon_hub_garbled_total',
      help: 'Things that the bus or the store brought and that cannot be read',
      registers,
    }),
    dropped: new Counter({
      name: 'damon_hub_dropped_total',
      help: 'Messages dropped because a session did not take them',
      registers,
    }),
    memoryTight: new Gauge({
      name: 'damon_hub_memory_tight',
      help: 'Workers that have no memory for more sessions',
      registers,
    }),
    turnedAway: new Counter({
      name: 'damon_hub_turned_away_total',
      help: 'Connections that were refused before they were sessions: too many of their address, or no memory',
      labelNames: ['reason'],
      registers,
    }),
    slowSessions: new Gauge({
      name: 'damon_hub_slow_sessions',
      help: 'Sessions whose outbox is above its high-water mark',
      registers,
    }),
    slowTotal: new Counter({
      name: 'damon_hub_slow_sessions_total',
      help: 'Times that the outbox of a session rose above its high-water mark',
      registers,
    }),
    openRequests: new Gauge({ name: 'damon_hub_open_requests', help: 'Requests that are not settled', registers }),
    verdict: (verdict) => {
      given[verdict]++
    },
    lateReplies: new Counter({
      name: 'damon_hub_late_replies_total',
      help: 'Replies that no open request waited for',
      registers,
    }),
    recollected: new Counter({
      name: 'damon_hub_recollected_total',
      help: 'Requests whose answers this worker went on to collect, by whether the logs had all of them',
      labelNames: ['result'],
      registers,
    }),
    records: new Gauge({ name: 'damon_hub_records', help: "Records in this worker's copy", registers }),
    resyncs: new Counter({
      name: 'damon_hub_record_resyncs_total',
      help: 'Times the copy of the records was read anew',
      registers,
    }),
    watches: new Counter({
      name: 'damon_hub_watches_total',
      help: 'Watches that began: new, continued, reset because too much had changed, or resync because the watcher had something else',
      labelNames: ['how'],
      registers,
    }),
    resumes: new Counter({
      name: 'damon_hub_resumes_total',
      help: 'Sessions that wanted to go on, by what became of it: resumed, or why not',
      labelNames: ['result'],
      registers,
    }),
    resumeSeconds: new Histogram({
      name: 'damon_hub_resume_seconds',
      help: 'Time from the wish to go on until the session was given what it had missed',
      buckets: [0.005, 0.02, 0.1, 0.5, 1, 2, 5],
      registers,
    }),
    replayed: new Counter({
      name: 'damon_hub_replayed_total',
      help: 'Frames given to sessions from the logs',
      registers,
    }),
    replayBytes: (held) => {
      new Gauge({
        name: 'damon_hub_replay_bytes',
        help: 'What sessions that come back hold of the logs, or may read now',
        registers,
        collect() {
          this.set(held())
        },
      })
    },
    storeReachable: new Gauge({ name: 'damon_hub_store_reachable', help: '1 while the store answers', registers }),
  }
}

function noneOf<Type extends string>(types: Record<Type, number>): Record<Type, number> {
  return Object.fromEntries(Object.keys(types).map((type) => [type, 0])) as Record<Type, number>
}
