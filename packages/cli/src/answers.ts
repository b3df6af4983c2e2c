import type { Answer } from '@damon/client/answer'
import type { z } from 'zod'
import { CliError } from './cli-error.ts'

/** The values of those who answered, checked. Throws `no_receiver` if nobody is there, `not_answered` if one did not answer so. */
export function parseAnswers<T>(answers: readonly Answer[], schema: z.ZodType<T>): T[] {
  return answers.map((answer) => {
    const parsed = schema.safeParse(answer.value)
    if (answer.verdict === 'answered' && parsed.success) return parsed.data
    const what = answer.verdict === 'answered' ? 'answered something else' : answer.verdict
    throw new CliError(
      'not_answered',
      `${answer.service ? `${answer.service}/${answer.client}` : 'A receiver'}: ${what}.`,
    )
  })
}
