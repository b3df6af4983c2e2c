import { damonError } from '@damon/protocol/errors'
import { type ClientFrame, frameNumbers } from '@damon/protocol/frames'
import type { Context } from './context.ts'
import { auth } from './handlers/auth.ts'
import { bye } from './handlers/bye.ts'
import { cancel } from './handlers/cancel.ts'
import { drop } from './handlers/drop.ts'
import { get } from './handlers/get.ts'
import { hello } from './handlers/hello.ts'
import { join } from './handlers/join.ts'
import { leave } from './handlers/leave.ts'
import { list } from './handlers/list.ts'
import { part } from './handlers/part.ts'
import { patch } from './handlers/patch.ts'
import { ping } from './handlers/ping.ts'
import { put } from './handlers/put.ts'
import { reply, replyAsItCame } from './handlers/reply.ts'
import { request } from './handlers/request.ts'
import { send, sendAgain } from './handlers/send.ts'
import { unwatch } from './handlers/unwatch.ts'
import { watch } from './handlers/watch.ts'
import type { Session } from './session.ts'

/**
 * Brings a frame to its handler. A promise means that the session's next frame has to wait for it.
 * @throws DamonError what the handler refuses
 */
export function dispatch(session: Session, frame: ClientFrame, context: Context): Promise<void> | undefined {
  if (frame.type !== 'hello' && !session.isIdentified)
    throw damonError('unexpected_frame', 'The first frame must be a hello.')
  switch (frame.type) {
    case 'send':
      return send(session, frame, context)
    case 'request':
      return request(session, frame, context)
    case 'reply':
      return reply(session, frame, context)
    case 'part':
      return part(session, frame, context)
    case 'ping':
      return ping(session, frame, context)
    case 'hello':
      return hello(session, frame, context)
    case 'auth':
      return auth(session, frame, context)
    case 'join':
      return join(session, frame, context)
    case 'leave':
      return leave(session, frame, context)
    case 'cancel':
      return cancel(session, frame, context)
    case 'put':
      return put(session, frame, context)
    case 'patch':
      return patch(session, frame, context)
    case 'drop':
      return drop(session, frame, context)
    case 'get':
      return get(session, frame, context)
    case 'list':
      return list(session, frame, context)
    case 'watch':
      return watch(session, frame, context)
    case 'unwatch':
      return unwatch(session, frame, context)
    case 'bye':
      return bye(session, frame, context)
  }
}

/**
 * The same for a `damon.v1` frame as it came, of an identified session: it lies in the chunk, from one place to the other. Returns its
 * type, or undefined where it has to be read.
 */
export function dispatchAsItCame(
  session: Session,
  chunk: Buffer,
  from: number,
  to: number,
  context: Context,
): 'send' | 'reply' | undefined {
  switch (chunk[from]) {
    case frameNumbers.client.send:
      return sendAgain(session, chunk, from, to, context) ? 'send' : undefined
    case frameNumbers.client.reply:
      return replyAsItCame(session, chunk, from, to, context) ? 'reply' : undefined
    default:
      return undefined
  }
}
