import { startScriptedHub } from '@damon/testkit/scripted-hub'
import { onTestFinished } from 'vitest'
import { open } from '../src/connect.ts'
import type { Hub, HubOptions } from '../src/hub.ts'
import type { StateChange } from '../src/link.ts'

/** Delays that tests do not notice. */
export const quick = { baseMs: 5, maxMs: 20 }

/** A scripted hub that lives as long as the test. */
export async function aHub(options?: Parameters<typeof startScriptedHub>[0]) {
  const hub = await startScriptedHub(options)
  onTestFinished(() => hub[Symbol.asyncDispose]())
  return hub
}

/** A client of a scripted hub that lives as long as the test, with every change of its state and every error. */
export async function aClient(
  hub: Awaited<ReturnType<typeof aHub>>,
  options: HubOptions & { urls?: string[] } = {},
): Promise<{ client: Hub; states: StateChange[]; errors: unknown[] }> {
  const states: StateChange[] = []
  const errors: unknown[] = []
  const { urls, ...rest } = options
  const client = await open(hub.credential(urls), {
    backoff: quick,
    ...rest,
    onState: (change) => {
      states.push(change)
      rest.onState?.(change)
    },
  })
  client.on('error', (error) => errors.push(error))
  onTestFinished(() => client.close())
  return { client, states, errors }
}
