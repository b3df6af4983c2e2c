import { once } from 'node:events'
import { createServer } from 'node:net'
import { CliError } from '../cli-error.ts'
import { errno } from '../files.ts'

/** Throws `port_taken` if nobody could listen on a port of loopback now; the hub's own error would come late and long. */
export async function checkPort(port: number): Promise<void> {
  const server = createServer().listen({ host: '127.0.0.1', port, exclusive: true })
  try {
    await once(server, 'listening')
  } catch (error) {
    const why = errno(error) === 'EADDRINUSE' ? 'is taken' : `cannot be used (${errno(error)})`
    throw new CliError('port_taken', `Port ${port} ${why}. Set DAMON_PORT to another one; 0 takes any that is free.`, {
      cause: error,
    })
  } finally {
    server.close()
  }
}
