import { type RunningService, startProgram, startService } from '@damon/testkit/process'
import { serviceScript } from './house.ts'

/** How one command line of `damon` ended, and all that it printed. */
export interface DamonOutcome {
  code: number | null
  output: string
}

/** Where `damon up` runs and whose connections it made, as it tells its parent. */
export interface UpReady {
  name: 'up'
  url: string
  home: string
  ca: string
  connections: Record<'bot' | 'sidecar' | 'operator' | 'certs', string>
  services: { name: string; pid: number; metrics: string }[]
}

/** A running `damon up`. */
export type RunningUp = RunningService & { told: UpReady }

/** Runs one command of `damon` as a process, to its end. */
export async function damon(args: readonly string[], env: Readonly<Record<string, string>>): Promise<DamonOutcome> {
  await using program = startProgram(serviceScript('cli'), env, args)
  const { code } = await program.exited
  return { code, output: program.output }
}

/** Starts `damon up` and waits until everything is ready. */
export async function startUp(env: Readonly<Record<string, string>>): Promise<RunningUp> {
  const service = await startService(serviceScript('cli'), env, ['up'])
  return Object.assign(service, { told: service.ready as unknown as UpReady })
}
