/** Whose REST API the fake speaks. */
export type Dialect = 'lavalink-4' | 'lavalink-3' | 'nodelink-2' | 'nodelink-3'

/** How a load of a track goes: it is found, there is none, or it fails with this text deep in its trace. */
export type LoadOutcome = 'track' | 'empty' | { fails: string }

/** The fields of `/info` that only NodeLink has, and the ones it has not. */
export function dialectInfo(dialect: Dialect, info: Record<string, unknown>): Record<string, unknown> {
  if (!dialect.startsWith('nodelink')) return info
  const { jvm, lavaplayer, version, ...rest } = info
  const { semver } = version as { semver: string }
  const [major, minor, patch] = semver.split('.')
  return dialect === 'nodelink-2'
    ? { ...rest, version: { semver, major, minor, patch }, isNodeLink: true }
    : { ...rest, version: { semver, major, minor, patch, prerelease: [] }, isNodelink: true }
}

/** The same for `/stats`: NodeLink has the frames of the last minute and a raw load average. */
export function dialectStats(dialect: Dialect, stats: Record<string, unknown>): Record<string, unknown> {
  if (!dialect.startsWith('nodelink')) return stats
  const cpu = stats.cpu as { cores: number; systemLoad: number }
  return {
    ...stats,
    cpu: { ...cpu, systemLoad: cpu.systemLoad * cpu.cores },
    frameStats: stats.frameStats ?? { sent: 6000, nulled: 0, deficit: 0, expected: 6000 },
  }
}

/** The body of `/loadtracks`. Lavalink 4.1 and newer tell the reason only in `causeStackTrace`. */
export function loadBody(dialect: Dialect, outcome: LoadOutcome, identifier: string): Record<string, unknown> {
  const info = {
    identifier,
    title: 'A long-lived video',
    author: 'Somebody',
    length: 19_000,
    isSeekable: true,
    isStream: false,
    position: 0,
    uri: `https://www.youtube.com/watch?v=${identifier}`,
    sourceName: 'youtube',
  }
  const track = { encoded: 'QAAAdQ==', info, pluginInfo: {}, userData: {} }
  if (dialect === 'lavalink-3') {
    if (outcome === 'track')
      return { loadType: 'TRACK_LOADED', playlistInfo: {}, tracks: [{ ...track, track: 'QAAA' }] }
    if (outcome === 'empty') return { loadType: 'NO_MATCHES', playlistInfo: {}, tracks: [] }
    const exception = { message: outcome.fails, severity: 'SUSPICIOUS', cause: outcome.fails }
    return { loadType: 'LOAD_FAILED', playlistInfo: {}, tracks: [], exception }
  }
  if (outcome === 'track') return { loadType: 'track', data: track }
  if (outcome === 'empty') return { loadType: 'empty', data: null }
  const wrapper = 'com.sedmelluq.discord.lavaplayer.tools.FriendlyException'
  const message = 'Something went wrong while looking up the track.'
  const data = { message, severity: 'fault', cause: `${wrapper}: ${message}` }
  const causeStackTrace = `${wrapper}: ${message}\n\tat a.b.C(C.java:1)\nCaused by: java.lang.RuntimeException: ${outcome.fails}\n`
  return { loadType: 'error', data: { ...data, causeStackTrace } }
}
