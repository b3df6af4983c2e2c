import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './packages/testkit/src/longest-first.ts'

// Tests start hundreds of processes of ours: each finds what an earlier one has compiled, which halves what its start costs.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules/.cache/compiled')

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts'],
    globalSetup: ['packages/testkit/src/requirements.ts'],
    reporters: ['default', './packages/testkit/src/reporter.ts'],
    pool: 'forks',
    // Tests of the whole product wait for a third of their time: three of them keep two cores at work.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 90_000,
  },
})
