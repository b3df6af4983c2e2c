import { once } from 'node:events'
import { decodeHubFrame, encodeClientFrame } from '@damon/protocol/codec-binary'
import { decodeHubText, encodeClientText } from '@damon/protocol/codec-json'
import { type ClientFrame, type Codec, type HubFrame, subprotocols } from '@damon/protocol/frames'
import type { Credential } from '@damon/trust/credential'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import { WebSocket } from 'ws'

type HubFrameOf<Type extends HubFrame['type']> = Extract<HubFrame, { type: Type }>
type Answer = HubFrameOf<'ack'> | HubFrameOf<'error'> | HubFrameOf<'records'>

/** A connection without manners: it says exactly what it is told to, in either codec, and keeps what it hears. */
export interface RawClient extends Disposable {
  readonly ws: WebSocket
  /** All frames so far. */
  readonly frames: readonly HubFrame[]
  /** What the hub hung up with; 1006 when the line just broke. */
  readonly closed: Promise<{ code: number; reason: string }>
  /** The first frame of a type that no earlier call took; rejects when the connection ends before. */
  next<Type extends HubFrame['type']>(type: Type): Promise<HubFrameOf<Type>>
  send(frame: ClientFrame): void
  /** Sends one message, whatever it is. */
  sendRaw(data: Uint8Array | string): void
  /** A hello as it should be, but for what is given; resolves with the welcome. */
  hello(
    credential: Credential,
    unusual?: Partial<Extract<ClientFrame, { type: 'hello' }>>,
  ): Promise<HubFrameOf<'welcome'>>
  /** Sends a frame with an `id` or a `number` and waits for the word on it. */
  ask(frame: ClientFrame & ({ id: number } | { number: number })): Promise<Answer>
}

/** How the upgrade departs from the usual. */
export interface RawOptions {
  ca: string | undefined
  codec?: Codec
  /** Sub-protocols to offer instead of the codec's. */
  protocols?: string[]
  origin?: string
}

/** Opens a connection; rejects when the hub refuses the upgrade. */
export async function openRaw(url: string, options: RawOptions): Promise<RawClient> {
  const { ca, codec = 'binary', origin, protocols = [subprotocols[codec]] } = options
  const ws = new WebSocket(url, protocols, { ca, origin, perMessageDeflate: false })
  const frames: HubFrame[] = []
  const taken = new Set<HubFrame>()
  const news = new Set<() => void>()
  let ended: { code: number; reason: string } | undefined
  const tell = () => {
    for (const told of [...news]) told()
  }
  ws.on('message', (data: Buffer, isBinary) => {
    frames.push(isBinary ? decodeHubFrame(new Uint8Array(data)) : decodeHubText(data.toString()))
    tell()
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    ws.once('close', (code, reason) => {
      ended = { code, reason: reason.toString() }
      resolve(ended)
      tell()
    })
  })
  await once(ws, 'open')
  ws.on('error', () => undefined)

  const find = <Found extends HubFrame>(what: string, fits: (frame: HubFrame) => frame is Found) =>
    new Promise<Found>((resolve, reject) => {
      const look = () => {
        const found = frames.find((frame): frame is Found => !taken.has(frame) && fits(frame))
        if (!found && !ended) return
        news.delete(look)
        if (found) resolve(found)
        else reject(new Error(`The connection ended (${ended?.code} ${ended?.reason}) before ${what} came.`))
        if (found) taken.add(found)
      }
      news.add(look)
      look()
    })

  const client: RawClient = {
    ws,
    frames,
    closed,
    next: (type) => find(type, (frame): frame is HubFrameOf<typeof type> => frame.type === type),
    send: (frame) => client.sendRaw(codec === 'binary' ? encodeClientFrame(frame) : encodeClientText(frame)),
    sendRaw: (data) => ws.send(data),
    async hello(credential, unusual) {
      const { token, identity } = credential
      const { nonce } = await client.next('challenge')
      const { jti } = readToken(token)
      const proof = identity && (await prove(identity, { nonce, host: new URL(url).hostname, jti }))
      client.send({ type: 'hello', token, proof, version: 'raw', ...unusual })
      return client.next('welcome')
    },
    ask(frame) {
      client.send(frame)
      return find(`the word on ${frame.type}`, (heard): heard is Answer => {
        if (heard.type === 'records') return 'id' in frame && heard.id === frame.id
        if (heard.type !== 'ack' && heard.type !== 'error') return false
        if ('id' in frame) return heard.id === frame.id
        if (heard.number === undefined) return false
        return heard.type === 'ack' ? heard.number >= frame.number : heard.number === frame.number
      })
    },
    [Symbol.dispose]: () => ws.terminate(),
  }
  return client
}
