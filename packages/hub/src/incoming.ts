import { decodeClientFrame } from '@damon/protocol/codec-binary'
import { decodeClientText } from '@damon/protocol/codec-json'
import { DamonError, damonError } from '@damon/protocol/errors'
import type { ClientFrame, Codec } from '@damon/protocol/frames'

/** A frame that was refused while it was read. `fatal`: what follows it cannot be trusted; `id`: which one it was. */
export class IncomingError extends DamonError {
  readonly fatal: boolean
  readonly id: number | undefined

  constructor(cause: DamonError, fatal: boolean, id: number | undefined) {
    super(cause.code, cause.message, { field: cause.field, cause })
    this.fatal = fatal
    this.id = id
  }
}

/**
 * Decodes a WebSocket message of a client.
 * @throws IncomingError
 */
export function decodeIncoming(codec: Codec, data: Buffer, isBinary: boolean): ClientFrame {
  try {
    if (isBinary !== (codec === 'binary'))
      throw damonError('bad_frame', `This sub-protocol has ${codec === 'binary' ? 'binary' : 'text'} messages only.`)
    return codec === 'binary' ? decodeClientFrame(data) : decodeClientText(data.toString())
  } catch (error) {
    const cause = error instanceof DamonError ? error : damonError('bad_frame', undefined, { cause: error })
    throw new IncomingError(cause, cause.code !== 'bad_field', codec === 'json' ? idOf(data) : undefined)
  }
}

/** The `id` of a text frame whose other fields are bad, so that its sender learns which one was refused. */
function idOf(data: Buffer): number | undefined {
  try {
    const { id } = JSON.parse(data.toString()) as { id?: unknown }
    return Number.isInteger(id) && Number(id) >= 0 && Number(id) <= 0xffffffff ? Number(id) : undefined
  } catch {
    return undefined
  }
}
