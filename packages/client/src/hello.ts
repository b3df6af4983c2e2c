import { encodeClientFrame } from '@damon/protocol/codec-binary'
import { encodeClientText } from '@damon/protocol/codec-json'
import type { Codec, Position } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Credential } from '@damon/trust/credential'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import type { HelloFrame } from './line.ts'

/** What a session needs to go on on another connection. */
export interface Resumable {
  session: string
  ticket: string
  epoch: string
  positions: Position[]
  /** Log position of the last acknowledgement. */
  ack: number
}

/**
 * Answers a challenge. A hello has room for 4 KiB: where it would not accept, it first does without the resume, then names
 * only as many groups as fit; the caller joins the others. Throws `bad_token`.
 */
export async function hello(
  { token, identity }: Credential,
  { nonce, host, codec }: { nonce: string; host: string; codec: Codec },
  { version, groups, resume }: { version: string | undefined; groups: string[]; resume: Resumable | undefined },
): Promise<HelloFrame> {
  const { jti } = readToken(token)
  const proof = identity && (await prove(identity, { nonce, host, jti }))
  const frame: HelloFrame = { type: 'hello', token, proof, version, groups: [...groups], resume }
  if (size(frame, codec) > limits.helloBytes) delete frame.resume
  while (size(frame, codec) > limits.helloBytes && frame.groups?.length) frame.groups.pop()
  return frame
}

function size(frame: HelloFrame, codec: Codec): number {
  return codec === 'binary' ? encodeClientFrame(frame).length : encodeClientText(frame).length
}
