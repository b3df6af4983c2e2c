import type { Hub } from '@damon/client/hub'
import { DamonError, isErrorCode } from '@damon/protocol/errors'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { parseAnswers } from '../answers.ts'
import { CliError } from '../cli-error.ts'
import { type ConnectionOptions, useHub, withConnection } from '../connection.ts'
import { instant, printable, table } from '../table.ts'
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

/** What certs answers to `certs.plan`. */
const plan = z.looseObject({
  problem: z.string().optional(),
  certificates: z.array(
    z.looseObject({
      id: z.string(),
      names: z.array(z.string()),
      keyType: z.string(),
      at: z.number(),
      why: z.string(),
      issuer: z.string(),
      others: z.array(z.string()),
      notAfter: z.number().optional(),
      window: z.looseObject({ explanation: z.string().optional() }).optional(),
      exempt: z.boolean(),
      limited: z.looseObject({ at: z.number(), message: z.string() }).optional(),
    }),
  ),
})

/** What certs answers to `certs.why`. */
const reasons = z.looseObject({
  id: z.string(),
  good: z.boolean(),
  at: z.number(),
  why: z.string(),
  issuer: z.string(),
  notAfter: z.number().optional(),
  failures: z.array(
    z.looseObject({ at: z.number(), issuer: z.string(), code: z.string(), cause: z.string(), remedy: z.string() }),
  ),
  revoked: z.looseObject({ reason: z.string(), doneAt: z.number().optional() }).optional(),
})

const revoked = z.looseObject({ id: z.string(), fingerprint: z.string() })

const revocationReasons = ['keyCompromise', 'superseded', 'cessationOfOperation', 'unspecified']

/** Why a certificate is ordered when it is, in words. */
const whys: Readonly<Record<string, string>> = {
  missing: 'there is none yet',
  changed: 'it is not what the certificates file asks for',
  revoked: 'the one in use is revoked',
  suggested: 'the authority suggests this time',
  renewal: 'that part of its life is over',
  retry: 'the last attempt failed',
  emergency: 'it is close to its end',
}

/** `certs`: the certificates, who may have them and who serves them; `plan`, `why` and `revoke`. */
export function addCerts(program: Command, terminal: Terminal): void {
  const certs = withConnection(program.command('certs'))
  addPlan(certs, terminal)
  addWhy(certs, terminal)
  addRevoke(certs, terminal)
  addCertsGet(certs, terminal)
  certs
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
}

function addPlan(certs: Command, terminal: Terminal): void {
  withConnection(certs.command('plan'))
    .description('Show what would happen to each certificate, and when.')
    .action((_, command: Command) =>
      useHub(command.optsWithGlobals<ConnectionOptions>(), terminal, async (hub) => {
        const { json } = command.optsWithGlobals<ConnectionOptions>()
        const { certificates, problem } = await askCerts(hub, 'certs.plan', undefined, plan)
        if (json) return terminal.print(JSON.stringify({ certificates, problem }))
        const rows = certificates.map((one) => [
          one.id,
          instant(one.at),
          whys[one.why] ?? one.why,
          [one.issuer, ...one.others].join(', then '),
          one.names.join(', '),
          one.keyType,
          one.limited ? `not before ${instant(one.limited.at)}` : one.exempt ? 'exempt' : 'free',
        ])
        const heads = ['certificate', 'ordered', 'because', 'issuer', 'names', 'key', 'rate limits']
        terminal.print(table(heads, rows, 'No certificate is configured.'))
        for (const { id, limited, window } of certificates) {
          if (limited) terminal.print(`\n${id}: ${printable(limited.message)}`)
          if (window?.explanation) terminal.print(`\n${id}: the authority explains at ${printable(window.explanation)}`)
        }
        if (problem)
          terminal.print(`\nThe file was changed and not taken over. ${problem.split('\n').map(printable).join('\n')}`)
      }),
    )
}

function addWhy(certs: Command, terminal: Terminal): void {
  withConnection(certs.command('why'))
    .description('Explain the state of a certificate: each failure with its cause and its remedy.')
    .argument('<name>', 'certificate, as the certificates file names it')
    .action((id: string, _, command: Command) =>
      useHub(command.optsWithGlobals<ConnectionOptions>(), terminal, async (hub) => {
        const answer = await askCerts(hub, 'certs.why', { id }, reasons)
        if (command.optsWithGlobals<ConnectionOptions>().json) return terminal.print(JSON.stringify(answer))
        const { good, notAfter, failures, revoked, at, why, issuer } = answer
        const state = good && notAfter !== undefined ? `is good until ${instant(notAfter)}` : 'is not as it should be'
        terminal.print(`${id} ${state}.`)
        if (revoked) {
          const done = revoked.doneAt === undefined ? 'not confirmed yet' : `confirmed ${instant(revoked.doneAt)}`
          terminal.print(`It was ordered to be revoked (${printable(revoked.reason)}): ${done}.`)
        }
        for (const failure of failures) {
          terminal.print(`\n${instant(failure.at)}  ${printable(failure.issuer)}  ${printable(failure.code)}`)
          terminal.print(`  cause:  ${printable(failure.cause)}`)
          terminal.print(`  remedy: ${printable(failure.remedy)}`)
        }
        terminal.print(`\nNext attempt ${instant(at)} at ${printable(issuer)}: ${whys[why] ?? printable(why)}.`)
      }),
    )
}

function addRevoke(certs: Command, terminal: Terminal): void {
  withConnection(certs.command('revoke'))
    .description('Have the current certificate revoked, and replaced by one with a new key.')
    .argument('<name>', 'certificate, as the certificates file names it')
    .addOption(new Option('--reason <reason>', 'why').choices(revocationReasons).makeOptionMandatory())
    .action((id: string, _, command: Command) => {
      const options = command.optsWithGlobals<ConnectionOptions & { reason: string }>()
      return useHub(options, terminal, async (hub) => {
        const answer = await askCerts(hub, 'certs.revoke', { id, reason: options.reason }, revoked)
        if (options.json) return terminal.print(JSON.stringify(answer))
        terminal.print(`${id}: ${printable(answer.fingerprint.slice(0, 16))} is being revoked, and a new one ordered.`)
        terminal.print(`\`damon certs why ${id}\` shows when the authority has confirmed it.`)
      })
    })
}

/** Asks the certs service; several that share one store answer the same, so the first answer counts. */
async function askCerts<T>(hub: Hub, event: string, value: unknown, schema: z.ZodType<T>): Promise<T> {
  const answers = await hub.any('certs').request(event, value)
  const failed = answers.find(({ error }) => error !== undefined)?.error
  if (failed)
    throw isErrorCode(failed.code)
      ? new DamonError(failed.code, failed.message)
      : new CliError('not_answered', failed.message)
  const [answer] = parseAnswers(answers, schema)
  if (answer === undefined) throw new CliError('not_answered', 'No certs service is connected.')
  return answer
}
