import { simulate, usual } from './run.ts'

const [seed = '1', runs = '1'] = process.argv.slice(2)
const began = process.hrtime.bigint()
for (let i = 0; i < Number(runs); i++) {
  const outcome = await simulate({ ...usual, seed: Number(seed) + i })
  console.log(
    JSON.stringify({ seed: Number(seed) + i, ...outcome }, (_, value) =>
      Array.isArray(value) ? value.slice(0, 5) : value,
    ),
  )
}
console.log(`${Number(process.hrtime.bigint() - began) / 1e9} s`)
