import { Buffer } from 'node:buffer'

/** A track as Lavalink 4 describes it; `encoded` holds all of it, so that any fake can play what another one loaded. */
export interface FakeTrack {
  encoded: string
  info: {
    identifier: string
    isSeekable: boolean
    author: string
    /** ms. */
    length: number
    isStream: boolean
    position: number
    title: string
    uri: string
    artworkUrl: null
    isrc: null
    sourceName: string
  }
  pluginInfo: Record<string, never>
  userData: unknown
}

/** Lavalink's account of an exception. */
export interface TrackException {
  message: string
  severity: 'common' | 'suspicious' | 'fault'
  cause: string
  causeStackTrace: string
}

const defaultLengthMs = 180_000

/** The track of an identifier: `name@2500` is one of 2.5 s, `name` one of three minutes. */
export function trackOf(identifier: string): FakeTrack {
  const length = Number(/@(\d+)$/.exec(identifier)?.[1] ?? defaultLengthMs)
  const info = {
    identifier,
    isSeekable: true,
    author: 'Somebody',
    length,
    isStream: false,
    position: 0,
    title: `Title of ${identifier}`,
    uri: `https://youtube.example/watch?v=${identifier}`,
    artworkUrl: null,
    isrc: null,
    sourceName: 'youtube',
  }
  return { encoded: Buffer.from(identifier).toString('base64'), info, pluginInfo: {}, userData: {} }
}

/** The track of an encoded text. */
export function decodeTrack(encoded: string): FakeTrack {
  return trackOf(Buffer.from(encoded, 'base64').toString())
}

/**
 * What `/v4/loadtracks` finds: `list:a,b` is a playlist, `ytsearch:a b` a search of as many results as words, `nothing`
 * nothing, anything else one track.
 */
export function loadTracks(identifier: string): { loadType: string; data: unknown } {
  const [, kind, rest = ''] = /^(list|ytsearch|ytmsearch):(.*)$/.exec(identifier) ?? []
  if (identifier === 'nothing') return { loadType: 'empty', data: {} }
  if (kind === 'list') {
    const tracks = rest.split(',').map(trackOf)
    return { loadType: 'playlist', data: { info: { name: rest, selectedTrack: -1 }, pluginInfo: {}, tracks } }
  }
  if (kind) return { loadType: 'search', data: rest.split(/\s+/).map(trackOf) }
  return { loadType: 'track', data: trackOf(identifier) }
}

/** What goes wrong with YouTube, in the true words. */
export const troubles = {
  rate: 'com.sedmelluq.lava.extensions.youtuberotator.tools.RateLimitException: Retry aborted, too many retries on ratelimit',
  bot: 'com.sedmelluq.discord.lavaplayer.tools.FriendlyException: Sign in to confirm you’re not a bot',
  bind: 'java.net.BindException: Cannot assign requested address',
  gone: 'com.sedmelluq.discord.lavaplayer.tools.FriendlyException: This video is unavailable',
} as const

/** The exception of a TrackExceptionEvent: unlike that of a load it keeps its true severity and root cause. */
export function playException(text: string): TrackException {
  const severity = text === troubles.gone ? 'common' : 'suspicious'
  const message = text.slice(text.indexOf(': ') + 2)
  return { message, severity, cause: text, causeStackTrace: `${text}\n\tat dev.lavalink.youtube` }
}
