import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Answered, planFor } from './plan.ts'
import { drawPlot } from './plot.ts'
import type { Question } from './question.ts'
import type { Spread, Summary } from './statistics.ts'

/** What a whole run comes to. */
export interface Run {
  /** In words: processor, kernel, versions. */
  machine: string[]
  /** In words: when, how many rounds, how long. */
  setting: string
  answers: { question: Question; summary: Summary }[]
  /** Questions that could not be answered, with why. */
  failed: { name: string; reason: string }[]
}

/** A folder beside the page, with its pictures. */
const pictures = 'performance'

/** Writes a run into the page between its markers, and its pictures beside it. Rejects when a marker is missing. */
export async function writePage(folder: string, run: Run): Promise<void> {
  const path = join(folder, 'performance.md')
  const answered: Answered[] = run.answers.map(({ question, summary }) => ({ ...question, summary }))
  let page = await readFile(path, 'utf8')
  page = between(page, 'results', results(run))
  page = between(page, 'plan', planFor(answered).join('\n'))
  await mkdir(join(folder, pictures), { recursive: true })
  for (const { question, summary } of run.answers)
    for (const plot of question.plots ?? [])
      await writeFile(join(folder, pictures, `${plot.name}.svg`), `${drawPlot(plot, question, summary)}\n`)
  await writeFile(path, page)
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`; what is empty leaves it as it is. */
export function between(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`The page has no place for the ${name}: ${begin} and ${end}.`)
  if (text === '') return page
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`
}

function results({ machine, setting, answers, failed }: Run): string {
  const bars = answers.flatMap(({ summary }) => summary.bars)
  const met = bars.filter((bar) => bar.met).length
  const out = [`${machine.join(', ')}. ${setting} Bars: ${met} of ${bars.length} met.`]
  for (const { question, summary } of answers) {
    out.push('', `### ${question.title}`, '', `\`npm run bench -- ${question.name}\``, '')
    out.push(...figureTable(question, summary), ...barList(summary))
    for (const { name, title } of question.plots ?? []) out.push('', `![${title}](${pictures}/${name}.svg)`)
  }
  for (const { name, reason } of failed) out.push('', `\`${name}\` could not be measured: ${reason}`)
  return out.join('\n')
}

function figureTable(question: Question, { figures }: Summary): string[] {
  const head = ['', ...figures.map(({ title, unit }) => `${title}, ${unit}`), 'ratio of the first figure']
  const rows = question.cells.map(({ label }) => {
    const lines = figures.map(({ lines }) => lines.find((line) => line.label === label))
    const ratio = lines[0]?.ratio
    const compared = ratio ? `${question.cells[0]?.label} is ${number(ratio.median)}x` : ''
    return [label, ...lines.map((line) => (line ? spread(line.spread) : '')), compared]
  })
  return columns([head, head.map(() => ''), ...rows])
}

function barList({ bars, figures }: Summary): string[] {
  if (bars.length === 0) return []
  const rows = bars.map(({ figure, of, to, most, is, met }) => {
    const unit = to === undefined ? ` ${figures.find(({ name }) => name === figure)?.unit}` : 'x'
    const what = to === undefined ? of : `${of} / ${to}`
    const missed = `missed by ${Math.round((is.median / most - 1) * 100)} %`
    return [
      what,
      `${most}${unit}`,
      `${number(is.median)}${unit} (${number(is.min)}-${number(is.max)})`,
      met ? 'met' : missed,
    ]
  })
  const head = ['bar', 'at most', 'is', '']
  return ['', ...columns([head, head.map(() => ''), ...rows])]
}

/** A table as it is formatted in this repository: the second row becomes the line below the head. */
function columns(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(3, ...rows.map((row) => row[index]?.length ?? 0)))
  return rows.map((row, index) => {
    const cells = widths.map((width, at) => (index === 1 ? '-'.repeat(width) : (row[at] ?? '').padEnd(width)))
    return `| ${cells.join(' | ')} |`
  })
}

function spread({ median, min, max }: Spread): string {
  return min === max ? number(median) : `${number(median)} (${number(min)}-${number(max)})`
}

/** Three digits that say something. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '?'
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
