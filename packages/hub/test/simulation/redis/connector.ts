import { AbstractConnector, type RedisOptions } from 'ioredis'
import { Line } from '../line.ts'

/** Leads a client of Redis over simulated lines; without one, nobody answers there. */
export function connectorOver(lay: () => Line | undefined): NonNullable<RedisOptions['Connector']> {
  return class extends AbstractConnector {
    constructor(options: unknown) {
      super((options as { disconnectTimeout: number }).disconnectTimeout)
    }

    async connect() {
      this.connecting = true
      const line = lay() ?? refused()
      this.stream = line.near as typeof this.stream
      return this.stream
    }
  }
}

function refused(): Line {
  const line = new Line(() => 0)
  line.cut()
  return line
}
