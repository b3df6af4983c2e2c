import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node'

/** The outcome of a run, in tests. */
export interface Tally {
  passed: number
  failed: number
  skipped: number
}

/** Prints `N passed, N failed` (and `, N skipped` when there are any) as the last line of a run. */
export default class TallyReporter implements Reporter {
  #tally: Tally = { passed: 0, failed: 0, skipped: 0 }

  onInit(): void {
    // At exit, behind everything that others print; also when the run never began.
    process.once('exit', (code) => {
      const broken = code !== 0 && this.#tally.failed === 0
      process.stdout.write(`${describeTally(broken ? { ...this.#tally, failed: 1 } : this.#tally)}\n`)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    this.#tally = tally(modules, unhandled)
  }
}

/** Counts tests; a file or suite that broke outside of its tests and an unhandled error are one failed test each. */
export function tally(modules: readonly TestModule[], unhandled: readonly unknown[]): Tally {
  const count: Tally = { passed: 0, failed: unhandled.length, skipped: 0 }
  for (const module of modules) {
    const before = count.failed
    const suites: (TestModule | TestSuite)[] = [module, ...module.children.allSuites()]
    count.failed += suites.filter((suite) => suite.errors().length > 0).length
    for (const test of module.children.allTests()) count[outcome(test)]++
    if (!module.ok() && count.failed === before) count.failed++
  }
  return count
}

function outcome(test: TestCase): keyof Tally {
  const { state } = test.result()
  // A test that never ended was cut off.
  return state === 'pending' ? 'failed' : state
}

function describeTally({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
