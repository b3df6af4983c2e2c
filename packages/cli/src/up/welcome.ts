import { homeAt } from '../home.ts'
import { table } from '../table.ts'
import type { ConnectionName } from './connections.ts'

/** What runs, for people and for `--json`. */
export interface Running {
  url: string
  home: string
  ca: string
  connections: Record<ConnectionName, string>
  services: { name: string; pid: number | undefined; at: string; metrics: string }[]
}

/** The page that `damon up` prints when all is ready. */
export function welcome({ ca, connections, home, services }: Running): string {
  const rows = services.map(({ name, pid, at, metrics }) => [name, pid, at, `${metrics}/metrics`])
  return [
    'Damon is running; Ctrl-C stops it.\n',
    indent(table(['service', 'pid', 'at', 'metrics'], rows)),
    ...(services.some(({ name }) => name === 'sidecar') ? [] : ['  No sidecar: LAVALINK_URL is not set.']),
    '',
    indent(
      table(
        ['file', 'path'],
        [
          ['authority', ca],
          ...Object.entries(connections).map(([name, path]) => [`connection of ${name}`, path]),
          ['logs', homeAt(home).log('*')],
        ],
      ),
    ),
    `
Try it: save these lines as hello.ts in this folder, and run \`npx node hello.ts\`.

${indent(snippet(connections.bot), 4)}

Then, in another terminal:  npx damon send group/bots hello world`,
  ].join('\n')
}

/** A few lines that connect, show who is connected, and print every message to the group `bots`. */
export function snippet(connection: string): string {
  return `import { connect } from '@damon/client/connect'

const hub = await connect('${connection}', { groups: ['bots'] })
hub.receive('*', (value, { from }) => console.log(from, 'says', value))
for await (const { type, key } of hub.watch('service/')) console.log(type, key)`
}

function indent(text: string, by = 2): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(by))
}
