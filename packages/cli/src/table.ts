import { stripVTControlCharacters } from 'node:util'

/** Text from elsewhere made safe for a terminal: one line, without control characters. */
export function printable(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value)
  return stripVTControlCharacters(text)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/[\p{Bidi_Control}]/gu, '')
}

/** Rows as columns that line up, under their heads; `none` when there are no rows. */
export function table(heads: readonly string[], rows: readonly (readonly unknown[])[], none = 'None.'): string {
  if (rows.length === 0) return none
  const lines = [heads.map((head) => head.toUpperCase()), ...rows.map((row) => row.map(printable))]
  const widths = heads.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** A time as people compare it: `3 s`, `12 min`, `5 h`, `40 d`. */
export function span(ms: number): string {
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ] as const
  const [name, unit] = units.find(([, size]) => Math.abs(ms) >= 2 * size) ?? (['s', 1_000] as const)
  return `${Math.round(ms / unit)} ${name}`
}

/** A Unix time in ms as UTC, to the second. */
export function instant(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
