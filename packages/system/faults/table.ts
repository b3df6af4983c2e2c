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

const counts = [
  ...(['seconds', 'messages', 'delivered', 'repaired', 'resumed', 'toldLost', 'unknown', 'requests'] as const),
  ...(['unexplained', 'duplicates'] as const),
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

/** One line for each fault, however often it struck: counts are added, of times and ratios the worst is told. */
export function together(rows: readonly Row[]): Row[] {
  const lines = new Map<string, Row>()
  for (const row of rows) {
    const line = lines.get(row.fault)
    lines.set(row.fault, line ? added(line, row) : row)
  }
  return [...lines.values()]
}

function added(one: Row, two: Row): Row {
  const sum = { ...one }
  for (const count of counts) sum[count] += two[count]
  sum.interruption = {
    p99: Math.max(one.interruption.p99, two.interruption.p99),
    max: Math.max(one.interruption.max, two.interruption.max),
  }
  sum.recordsMs = Math.max(one.recordsMs, two.recordsMs)
  if (one.ratio !== undefined && two.ratio !== undefined) sum.ratio = Math.max(one.ratio, two.ratio)
  sum.wrongs = [...one.wrongs, ...two.wrongs]
  return sum
}

/** Everything that must not be, by fault. */
export function wrongsOf(rows: readonly Row[]): string {
  return rows.flatMap(({ fault, wrongs }) => wrongs.map((wrong) => `${fault}: ${wrong}`)).join('\n')
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en')
}
