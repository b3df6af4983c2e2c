import type { Row } from './run.ts'

const heads = [
  'fault',
  's',
  'messages',
  'delivered',
  'repaired',
  'resumed',
  'told lost',
  'outcome unknown',
  'unexplained',
  'twice',
  'interruption p99, max ms',
  'records after ms',
]

/** The table, one line for each fault. */
export function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.title,
    row.seconds.toFixed(0),
    number(row.messages),
    number(row.delivered),
    number(row.repaired),
    number(row.resumed),
    number(row.toldLost),
    number(row.unknown),
    number(row.unexplained),
    number(row.duplicates),
    `${number(row.interruption.p99)}, ${number(row.interruption.max)}${row.ratio === undefined ? '' : `; ratio ${row.ratio.toFixed(2)}`}`,
    number(row.recordsMs),
  ])
  const widths = heads.map((head, i) => Math.max(head.length, ...cells.map((row) => row[i]?.length ?? 0)))
  const line = (texts: readonly string[]) =>
    `| ${texts.map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join(' | ')} |`
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [line(heads), rule, ...cells.map(line)].join('\n')
}

/** Everything that must not be, by fault. */
export function wrongsOf(rows: readonly Row[]): string {
  return rows.flatMap(({ fault, wrongs }) => wrongs.map((wrong) => `${fault}: ${wrong}`)).join('\n')
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en')
}
