import type { Context } from '../context.ts'
import type { Session } from '../session.ts'
import type { FrameOf } from './frame.ts'

/** The client leaves for good: what it leased goes at once. */
export function bye(session: Session, _frame: FrameOf<'bye'>, _context: Context): undefined {
  session.close('bye')
}
