import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createMetrics, type ReaderStage } from '../src/metrics.ts'

const stage = (reader: string, rest: Partial<ReaderStage> = {}): ReaderStage => ({
  certificate: 'edge',
  fingerprint: 'f'.repeat(64),
  reader,
  delivered: true,
  served: false,
  late: false,
  ...rest,
})

test('the stages of each reader are told as they are, those of readers that are gone are not', async () => {
  const registry = new Registry()
  const metrics = createMetrics(registry)
  const lines = async () =>
    (await registry.metrics())
      .split('\n')
      .filter((line) => /^damon_certificate_(reader_stage|late_readers)\{/.test(line))
      .map((line) => line.replace('certificate="edge"', '').replace('damon_certificate_', ''))
      .toSorted()
  metrics.stages([stage('bot/a'), stage('bot/b', { served: true })])
  metrics.stages([stage('bot/a', { served: true }), stage('bot/b', { delivered: false })])
  metrics.stages([stage('bot/b', { late: true })])
  expect(await lines()).toEqual([
    'late_readers{} 1',
    'reader_stage{,reader="bot/b",stage="delivered"} 1',
    'reader_stage{,reader="bot/b",stage="issued"} 1',
    'reader_stage{,reader="bot/b",stage="served"} 0',
  ])
})
