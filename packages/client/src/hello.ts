import { encodeClientFrame } from '@damon/protocol/codec-binary'
import { encodeClientText } from '@damon/protocol/codec-json'
import type { Codec } from '@damon/protocol/frames'
import { limits } from '@damon/protocol/limits'
import type { Credential } from '@damon/trust/credential'
import { prove } from '@damon/trust/proof'
import { readToken } from '@damon/trust/token'
import type { HelloFrame } from './line.ts'

/** What a session needs to go on on another connection. */
export type Resumable = NonNullable<HelloFrame['resume']>

/**
 * Answers a challenge. Where it would not fit into a hello, it first names fewer positions, which makes the hub repeat
 * what this client has already, or tell gaps that are none; then it does without the resume; then it names only as many
 * groups as fit, and the caller joins the others. Throws `bad_token`.
 */
export async function hello(
  { token, identity }: Credential,
  { nonce, host, codec }: { nonce: string; host: string; codec: Codec },
  { version, groups, resume }: { version: string | undefined; groups: string[]; resume: Resumable | undefined },
): Promise<HelloFrame> {
  const { jti } = readToken(token)
  const proof = identity && (await prove(identity, { nonce, host, jti }))
  const positions = resume?.positions.slice(0, limits.positions) ?? []
  const frame: HelloFrame = { type: 'hello', token, proof, version, groups: [...groups] }
  if (resume) frame.resume = { ...resume, positions }
  while (size(frame, codec) > limits.helloBytes && positions.length > 0) positions.splice(positions.length >> 1)
  if (size(frame, codec) > limits.helloBytes) delete frame.resume
  while (size(frame, codec) > limits.helloBytes && frame.groups?.length) frame.groups.pop()
  return frame
}

function size(frame: HelloFrame, codec: Codec): number {
  return codec === 'binary' ? encodeClientFrame(frame).length : encodeClientText(frame).length
}
