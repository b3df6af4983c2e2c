import { startDaemon } from './daemon.ts'
import { onFreePorts } from './free-port.ts'

/** A DNS server (pebble-challtestsrv) on loopback, UDP and TCP. Names it was not told are 127.0.0.1; it has no NS or SOA. */
export interface DnsServer extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly address: string
  /** Adds one TXT value to a name; the values already there stay. */
  addTxt(name: string, value: string): Promise<void>
  /** Takes one TXT value away; the others are published again. */
  removeTxt(name: string, value: string): Promise<void>
  /** What is published under a name now. */
  txt(name: string): readonly string[]
}

/** Starts pebble-challtestsrv on free ports; rejects when the program is not installed. */
export async function startDnsServer(): Promise<DnsServer> {
  const off = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv6', '']
  const { daemon, address, managementUrl } = await onFreePorts(2, async ([dnsPort, managementPort]) => {
    const address = `127.0.0.1:${dnsPort}`
    const management = `127.0.0.1:${managementPort}`
    const managementUrl = `http://${management}`
    const daemon = await startDaemon({
      command: 'pebble-challtestsrv',
      args: ['-management', management, '-dns01', address, ...off],
      isReady: async () => (await post(managementUrl, 'clear-txt', { host: 'ready.test.' })).ok,
    })
    return { daemon, address, managementUrl }
  })
  const values = new Map<string, string[]>()
  let queue: Promise<unknown> = Promise.resolve()
  const inTurn = (step: () => Promise<void>): Promise<void> => {
    const done = queue.then(step)
    queue = done.catch(() => {})
    return done
  }
  const add = async (name: string, value: string) => {
    const response = await post(managementUrl, 'set-txt', { host: absolute(name), value })
    if (!response.ok) throw new Error(`The DNS server refused a TXT value of ${name} (${response.status}).`)
  }
  return {
    address,
    addTxt: (name, value) =>
      inTurn(async () => {
        await add(name, value)
        values.set(absolute(name), [...(values.get(absolute(name)) ?? []), value])
      }),
    removeTxt: (name, value) =>
      inTurn(async () => {
        const before = values.get(absolute(name)) ?? []
        const position = before.indexOf(value)
        const kept = before.filter((_, index) => index !== position)
        // The server only knows how to drop all values of a name.
        await post(managementUrl, 'clear-txt', { host: absolute(name) })
        for (const one of kept) await add(name, one)
        values.set(absolute(name), kept)
      }),
    txt: (name) => values.get(absolute(name)) ?? [],
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  }
}

function absolute(name: string): string {
  return name.endsWith('.') ? name : `${name}.`
}

function post(url: string, path: string, body: unknown): Promise<Response> {
  return fetch(`${url}/${path}`, { method: 'POST', body: JSON.stringify(body) })
}
