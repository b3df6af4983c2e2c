import { join, resolve } from 'node:path'
import { certificates } from '@damon/client/certificates-node'
import { damonError } from '@damon/protocol/errors'
import { isSegment } from '@damon/protocol/names'
import { parseCapabilities } from '@damon/trust/capabilities'
import { readToken } from '@damon/trust/token'
import { type Command, InvalidArgumentError } from 'commander'
import * as parse from '../arguments.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { privateFolder, replaceFile } from '../files.ts'
import type { Terminal } from '../terminal.ts'

interface Options extends ConnectionOptions {
  out: string
  wait: number
}

/** `certs get NAME --out DIR`: one certificate with its key, once, for scripts. */
export function addCertsGet(certs: Command, terminal: Terminal): void {
  withConnection(certs.command('get'))
    .description('Download a certificate with its key, once. The connection needs cert:NAME.')
    .argument('<name>', 'id of the certificate', (text) => {
      if (isSegment(text)) return text
      throw new InvalidArgumentError('Write the id that certs has it under, for example edge.')
    })
    .requiredOption('--out <folder>', 'gets fullchain.pem, privkey.pem and combined.pem (0600)')
    .option('--wait <duration>', 'how long certs may take', parse.duration, 30_000)
    .action((name: string, options: Options) =>
      useHub(options, terminal, async (hub) => {
        const { can, sub } = readToken(hub.credential.token)
        if (!parseCapabilities(can, sub).may('cert', name)) {
          throw damonError('denied', `${sub} may not have it: mint a connection with --can cert:${name}.`)
        }
        await using reader = certificates(hub, name)
        const refusals: Error[] = []
        reader.on('refused', (error) => refusals.push(error))
        const late = AbortSignal.timeout(options.wait)
        const { key, chain, fingerprint, version, names, notAfter } = await reader.ready(late).catch((cause) => {
          if (!late.aborted) throw cause
          const [refusal] = refusals
          if (refusal) throw refusal
          throw damonError(
            'timed_out',
            `Nothing came within ${options.wait} ms: is certs running, and does it have ${name}?`,
          )
        })
        const folder = resolve(terminal.cwd, options.out)
        await privateFolder(folder)
        await replaceFile(join(folder, 'combined.pem'), `${key.trimEnd()}\n${chain.trimEnd()}\n`)
        await replaceFile(join(folder, 'privkey.pem'), `${key.trimEnd()}\n`)
        await replaceFile(join(folder, 'fullchain.pem'), `${chain.trimEnd()}\n`)
        const about = { name, fingerprint, version, names, notAfter: notAfter.toISOString(), folder }
        if (options.json) return terminal.print(JSON.stringify(about))
        terminal.print(`${name} (${names.join(', ')}), good until ${about.notAfter}, is in ${folder}.`)
      }),
    )
}
