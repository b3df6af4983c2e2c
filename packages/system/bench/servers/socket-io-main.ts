import { createAdapter } from '@socket.io/redis-adapter'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'
import { createPeerServer, peerNames, servePeer } from './peer-server.ts'

const askMs = 30_000

const server = createPeerServer()
const nameOf = peerNames()
const io = new Server(server, { transports: ['websocket'], serveClient: false })
const { REDIS_URL } = process.env
if (REDIS_URL) io.adapter(createAdapter(new Redis(REDIS_URL), new Redis(REDIS_URL)))

io.use((socket, next) => {
  const name = nameOf(String(socket.handshake.auth.token))
  if (name === undefined) return next(new Error('unauthorized'))
  socket.data.name = name
  next()
})
io.on('connection', (socket) => {
  socket.join(socket.data.name)
  socket.on('join', async (rooms: string[], done: () => void) => {
    await socket.join(rooms)
    done()
  })
  socket.on('send', (room: string, payload: string) => {
    io.to(room).emit('m', payload)
  })
  socket.on('ask', (room: string, payload: string, done: (answers: unknown[]) => void) => {
    io.to(room)
      .timeout(askMs)
      .emit('a', payload, (_error: Error | null, answers: unknown[]) => done(answers))
  })
})
servePeer(server)
