import { redisRules, shortLogs } from './redis/switches.ts'
import { isFlawless, type Scenario, simulate, usual } from './run.ts'
import { rules } from './switches.ts'

// Many runs by hand: seed, runs, and what is unusual as JSON; RULE switches one off, LOG_MS makes logs on Redis as short.
const [seed = '1', runs = '1', unusual = '{}'] = process.argv.slice(2)
using _short = process.env.LOG_MS ? shortLogs(Number(process.env.LOG_MS)) : undefined
const { weather, faults, ...rest } = JSON.parse(unusual) as Partial<Scenario>
const of: Record<string, () => Disposable> = rest.bus === 'redis' ? { ...rules, ...redisRules } : rules
using _ = of[process.env.RULE ?? '']?.()
const scenario = {
  ...usual,
  ...rest,
  weather: { ...usual.weather, ...weather },
  faults: { ...usual.faults, ...faults },
}
const total = { runs: 0, flawed: 0, messages: 0, delivered: 0, toldLost: 0, resumed: 0, begun: 0 }
const wrong = { unexplained: 0, duplicates: 0, disordered: 0, across: 0, impossible: 0, wrongs: 0 }
for (let i = 0; i < Number(runs); i++) {
  const outcome = await simulate({ ...scenario, seed: Number(seed) + i })
  total.runs++
  for (const name of ['messages', 'delivered', 'toldLost', 'resumed', 'begun'] as const) total[name] += outcome[name]
  for (const name of Object.keys(wrong) as (keyof typeof wrong)[]) wrong[name] += outcome[name].length
  if (isFlawless(outcome)) continue
  total.flawed++
  const some = (_: string, value: unknown) => (Array.isArray(value) ? [value.length, ...value.slice(0, 3)] : value)
  console.log(JSON.stringify({ seed: Number(seed) + i, ...outcome }, some))
}
console.log(JSON.stringify({ ...total, ...wrong }))
