import type { ClientFrame } from '@damon/protocol/frames'

/** The client's frame of a type. */
export type FrameOf<Type extends ClientFrame['type']> = Extract<ClientFrame, { type: Type }>
