import { type WebSocket, WebSocketServer } from 'ws'
import { createPeerServer, peerNames, servePeer } from './peer-server.ts'

// What people write who need a hub by tomorrow: ws, a Map of rooms, JSON.
type Incoming =
  | { type: 'hello'; token: string; groups: string[] }
  | { type: 'send'; to: string; payload: string }
  | { type: 'ask'; to: string; payload: string }
  | { type: 'answer'; id: number; payload: string }

const rooms = new Map<string, Set<WebSocket>>()
const asked = new Map<number, { asker: WebSocket; missing: number; answers: string[] }>()
let lastId = 0

function join(room: string, ws: WebSocket): void {
  const members = rooms.get(room) ?? new Set()
  rooms.set(room, members.add(ws))
}

function hear(ws: WebSocket, message: Incoming): void {
  if (message.type === 'hello') {
    const name = nameOf(message.token)
    if (name === undefined) {
      ws.close(4001, 'unauthorized')
      return
    }
    for (const room of [name, ...message.groups]) join(room, ws)
    ws.send(JSON.stringify({ type: 'welcome' }))
  } else if (message.type === 'send') {
    const { to, payload } = message
    for (const member of rooms.get(to) ?? []) member.send(JSON.stringify({ type: 'm', to, payload }))
  } else if (message.type === 'ask') {
    const { to, payload } = message
    const members = rooms.get(to) ?? new Set()
    const id = ++lastId
    asked.set(id, { asker: ws, missing: members.size, answers: [] })
    for (const member of members) member.send(JSON.stringify({ type: 'a', id, to, payload }))
  } else {
    const request = asked.get(message.id)
    if (!request) return
    request.answers.push(message.payload)
    if (--request.missing > 0) return
    asked.delete(message.id)
    request.asker.send(JSON.stringify({ type: 'answers', id: message.id, answers: request.answers }))
  }
}

const server = createPeerServer()
const nameOf = peerNames()
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (ws) => {
  ws.on('message', (data) => hear(ws, JSON.parse(data.toString())))
  ws.on('close', () => {
    for (const members of rooms.values()) members.delete(ws)
  })
})
servePeer(server)
