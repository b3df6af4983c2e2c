/**
 * Loaded into the hub's processes before anything else: their wall clock is wrong by as many ms as the file says that
 * FAULT_CLOCK_FILE names; SIGUSR2 makes them look again. Monotonic time stays what it is.
 */
import { readFileSync } from 'node:fs'

const file = process.env.FAULT_CLOCK_FILE ?? ''
const RealDate = Date
const read = (): number => Number(readFileSync(file, 'utf8'))
let shiftMs = read()

const now = (): number => RealDate.now() + shiftMs

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  apply: () => new RealDate(now()).toString(),
  get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
})

process.on('SIGUSR2', () => {
  shiftMs = read()
})
