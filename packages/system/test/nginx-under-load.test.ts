import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { servedFingerprint } from '@damon/client/served-certificate-node'
import { startDaemon } from '@damon/testkit/daemon'
import { eventually } from '@damon/testkit/eventually'
import { onFreePorts } from '@damon/testkit/free-port'
import { startService } from '@damon/testkit/process'
import { createAuthority, issueLeaf } from '@damon/trust/local-ca'
import { expect, it } from 'vitest'
import { startCertifier } from '../src/certifier.ts'
import { buildHouse, serviceScript } from '../src/house.ts'

const renewals = 15
/** Never reached: the load ends when the last certificate is served. */
const loadSeconds = 60

/** Requests that each make a connection and a handshake of their own, until told to stop. */
function load(url: string) {
  const args = ['-t', '1', '-c', '8', '-d', `${loadSeconds}s`, '--timeout', '10s', '-H', 'Connection: close', url]
  const wrk = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  wrk.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  return {
    async stop(): Promise<string> {
      const ended = once(wrk, 'exit')
      wrk.kill('SIGINT')
      await ended
      return output
    },
    [Symbol.dispose]: () => void wrk.kill('SIGKILL'),
  }
}

it('cert-agent changes the certificate of an nginx under load, and not one handshake or request fails', {
  timeout: 120_000,
}, async () => {
  await using house = await buildHouse()
  await using hub = await house.startHub()
  const url = hub.ready.url!
  const can = ['issue:*', 'get:cert-reader/*', 'get:cert/*', 'put:cert/*']
  await using certs = await startCertifier(await house.credential(url, 'certs/one', can))
  const authority = await createAuthority({ name: 'test', now: Date.now(), days: 30 })
  const issue = () => issueLeaf(authority, { names: ['web.test'], now: Date.now(), days: 10 })
  const files = join(house.folder, 'certificates')
  const root = join(house.folder, 'nginx')
  await mkdir(root)

  await onFreePorts(1, async ([port]) => {
    const configuration = `
      worker_processes 2;
      pid ${root}/pid;
      error_log ${root}/error.log notice;
      daemon off;
      events { worker_connections 512; }
      http {
        access_log off;
        client_body_temp_path ${root}/body; proxy_temp_path ${root}/proxy; fastcgi_temp_path ${root}/fastcgi;
        uwsgi_temp_path ${root}/uwsgi; scgi_temp_path ${root}/scgi;
        ssl_certificate ${files}/web/current/combined.pem;
        ssl_certificate_key ${files}/web/current/combined.pem;
        server { listen 127.0.0.1:${port} ssl; location / { return 200 "hello"; } }
      }`
    await writeFile(join(root, 'nginx.conf'), configuration)
    const nginx = ['nginx', '-p', root, '-e', join(root, 'error.log'), '-c', join(root, 'nginx.conf')]
    const agentEnv = {
      DAMON_CONNECTION_FILE: await house.connectionFile(url, 'web/one', ['cert:web']),
      CERTIFICATES: 'web',
      CERT_DIR: files,
      // The first files are there before nginx is.
      RELOAD_COMMAND: JSON.stringify(['sh', '-c', `test ! -e ${root}/pid || exec ${nginx.join(' ')} -s reload`]),
      SERVED_AT: `127.0.0.1:${port}`,
    }
    await using agent = await startService(serviceScript('cert-agent'), agentEnv)
    await eventually(async () => expect(await certs.readers('web')).toHaveLength(1))
    const first = await certs.deliver('web', await issue())
    await agent.says('"reloaded"')
    const shown = () => servedFingerprint({ host: '127.0.0.1', port: port! }, 'web.test')
    const [command = '', ...args] = nginx
    await using _nginx = await startDaemon({ command, args, isReady: async () => (await shown()) === first })

    using wrk = load(`https://127.0.0.1:${port}/`)
    let fingerprint = first
    for (let renewal = 0; renewal < renewals; renewal++) {
      fingerprint = await certs.deliver('web', await issue())
      await eventually(async () => expect(await shown()).toBe(fingerprint), { deadlineMs: 30_000 })
    }
    const report = await wrk.stop()
    const requests = Number(/(\d+) requests in/.exec(report)?.[1])
    expect(requests).toBeGreaterThan(100)
    expect(report).not.toMatch(/Socket errors|Non-2xx/)
    // A worker of before takes connections until it has heard that it shall end.
    await eventually(async () => expect(await shown()).toBe(fingerprint))
    const log = await readFile(join(root, 'error.log'), 'utf8')
    expect(log).not.toMatch(/\[(error|crit|alert|emerg)\]/)
    expect(log.match(/reconfiguring/g)?.length).toBeGreaterThanOrEqual(renewals)
    // The receipt follows what nginx shows, not what lies on the disk.
    await eventually(() => expect(agent.output.match(/"served"/g)?.length).toBeGreaterThanOrEqual(1))
  })
})
