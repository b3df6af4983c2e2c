import { number } from './page.ts'
import type { Question } from './question.ts'
import type { Spread, Summary } from './statistics.ts'

/** A question's answer for people. */
export function table(question: Question, summary: Summary): string {
  const first = question.cells[0]?.label ?? ''
  const out = [`## ${question.title} (${question.name})`]
  for (const { title, unit, lines } of summary.figures) {
    const rows = lines.map(({ label, spread, ratio }) => [
      label,
      number(spread.median),
      `${number(spread.min)}-${number(spread.max)}`,
      ratio ? `${first} is ${times(ratio)}` : '',
    ])
    out.push('', ...columns([[`${title}, ${unit}`, 'median', 'min-max', ''], ...rows]))
  }
  if (summary.bars.length > 0) out.push('')
  for (const { of, to, most, is, met, figure } of summary.bars) {
    const unit = summary.figures.find(({ name }) => name === figure)?.unit ?? ''
    const [value, bar] =
      to === undefined ? [`${number(is.median)} ${unit}`, `${most} ${unit}`] : [times(is), `${most}x`]
    out.push(`${met ? 'met   ' : 'MISSED'}  ${of}: ${value}${to === undefined ? '' : ` of ${to}`}, at most ${bar}`)
  }
  return `${out.join('\n')}\n`
}

function times({ median, min, max }: Spread): string {
  return `${number(median)}x (${number(min)}-${number(max)})`
}

function columns(rows: string[][]): string[] {
  const widths = rows[0]?.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0))) ?? []
  return rows.map((row) =>
    row
      .map((text, index) =>
        index === 0 || index === 3 ? text.padEnd(widths[index] ?? 0) : text.padStart(widths[index] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  )
}
