import type { Command } from 'commander'
import { z } from 'zod'
import { parseAnswers } from '../answers.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { instant, table } from '../table.ts'
import type { Terminal } from '../terminal.ts'
import { addCertsGet } from './certs-get.ts'

/** What certs answers to `certs.list`; times are Unix ms. */
const certificate = z.looseObject({
  id: z.string(),
  names: z.array(z.string()),
  issuer: z.string(),
  notBefore: z.number().optional(),
  notAfter: z.number().optional(),
  renewAt: z.number().optional(),
  fingerprint: z.string().optional(),
  version: z.number().optional(),
  lastError: z.looseObject({ code: z.string(), message: z.string() }).optional(),
  /** While it is tried on one reader first. */
  trial: z.looseObject({ canary: z.string().optional(), failures: z.number() }).optional(),
  readers: z.array(
    z.looseObject({ reader: z.string(), delivered: z.boolean(), served: z.boolean(), late: z.boolean().optional() }),
  ),
})

/** `certs`: the certificates, who may have them and who serves them. */
export function addCerts(program: Command, terminal: Terminal): void {
  const certs = withConnection(program.command('certs'))
    .description('Show the certificates, their readers, and what these serve.')
    .action((options: ConnectionOptions) =>
      useHub(options, terminal, async (hub) => {
        const answers = await hub.group('certs').request('certs.list', undefined)
        const certificates = parseAnswers(answers, z.array(certificate)).flat()
        if (options.json) return terminal.print(JSON.stringify(certificates))
        if (answers.length === 0) return terminal.print('No certs service is connected.')
        const rows = certificates.map((one) => [
          one.id,
          one.names.join(', '),
          one.issuer,
          one.notAfter === undefined ? '' : instant(one.notAfter),
          one.renewAt === undefined ? '' : instant(one.renewAt),
          one.fingerprint?.slice(0, 16),
          one.lastError && `${one.lastError.code}: ${one.lastError.message}`,
        ])
        const heads = ['certificate', 'names', 'issuer', 'ends', 'renewed', 'fingerprint', 'last error']
        terminal.print(table(heads, rows, 'No certificate is configured.'))
        const readers = certificates.flatMap(({ id, readers }) =>
          readers.map(({ reader, delivered, served, late }) => [
            id,
            reader,
            delivered ? 'yes' : 'no',
            served ? 'yes' : late ? 'late' : 'no',
          ]),
        )
        for (const { id, trial } of certificates) {
          if (!trial) continue
          const { canary, failures } = trial
          const now = canary === undefined ? 'waits for the next trial' : `is tried on ${canary} first`
          terminal.print(`\n${id} ${now}${failures > 0 ? `, after ${failures} that failed` : ''}.`)
        }
        if (readers.length > 0) terminal.print(`\n${table(['certificate', 'reader', 'delivered', 'served'], readers)}`)
      }),
    )
  addCertsGet(certs, terminal)
}
