import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest, the longest first, below `packages/`. Each takes more than ten seconds. */
export const longest: readonly string[] = [
  'system/test/outage.test.ts',
  'system/test/restarts.test.ts',
  'system/test/audio-nodes.test.ts',
  'system/test/resume-redis.test.ts',
  'system/test/ways-redis.test.ts',
  'certs/test/year.test.ts',
  'hub/test/simulation.test.ts',
  'system/test/own-certificate.test.ts',
  'system/test/faults.test.ts',
  'system/test/bench.test.ts',
  'system/test/up.test.ts',
  'client/test/lavalink/moving.test.ts',
  'system/test/announce-way.test.ts',
  'system/test/ways-redis-cluster.test.ts',
  'system/test/certificate-way.test.ts',
  'system/test/bounded.test.ts',
  'hub/test/requests-account.test.ts',
  'certs/test/crash.test.ts',
  'system/test/readme-programs.test.ts',
  'system/test/certs-commands.test.ts',
  'system/test/records-hold.test.ts',
  'system/test/ways-cluster.test.ts',
  'system/test/resume-cluster.test.ts',
  'system/test/published-client.test.ts',
]

/** Begins with the longest files: one of them alone at the end would keep all but one worker waiting. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const place = ({ moduleId }: TestSpecification) => {
      const index = longest.findIndex((path) => moduleId.endsWith(`/packages/${path}`))
      return index < 0 ? longest.length : index
    }
    return sorted.toSorted((a, b) => place(a) - place(b))
  }
}
