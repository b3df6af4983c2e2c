import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['docker/test/**/*.test.ts'],
    reporters: ['default', './packages/testkit/src/reporter.ts'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 15 * 60_000,
  },
})
