import { FakeLavalink } from './fake-lavalink.ts'

// Stands in for the Lavalink image where that cannot be pulled. HOST, PORT and PASSWORD as Lavalink's
// SERVER_ADDRESS, SERVER_PORT and LAVALINK_SERVER_PASSWORD.
const { HOST = '127.0.0.1', PORT = '2333', PASSWORD = 'youshallnotpass' } = process.env
const fake = await FakeLavalink.start({ host: HOST, port: Number(PORT), password: PASSWORD })
process.stdout.write(`ready ${fake.url}\n`)
process.send?.({ ready: { name: 'fake-lavalink', url: fake.url } })

const end = (): void => {
  process.removeAllListeners('disconnect')
  fake.stop().then(() => process.disconnect?.())
}
for (const event of ['SIGTERM', 'SIGINT', 'disconnect'] as const) process.once(event, end)
