import { isSegment } from '@damon/protocol/names'
import { z } from 'zod'

const units = { s: 1_000, m: 60_000, h: 3_600_000 } as const

const canaryChoice = 'must be true, false, or the service of the readers to choose from'

/** How a certificate comes to its readers: `delivery` of a certificate in the certificates file. */
export const deliveryRules = z
  .strictObject({
    /** One reader has each new certificate first, the others when it has proven it: any reader, or one of this service. */
    canary: z.union([z.boolean(), z.string().refine(isSegment, canaryChoice)], { error: canaryChoice }).default(false),
    /** After this a reader that does not serve what was delivered is late, and a canary has failed; reads to ms. */
    servedWithin: z
      .string()
      .regex(/^[1-9]\d{0,3}[smh]$/, 'must be a span of time like 30s, 2m or 1h')
      .transform((text) => Number(text.slice(0, -1)) * units[text.at(-1) as keyof typeof units])
      .default(120_000),
  })
  .prefault({})

/** How one certificate comes to its readers. */
export type DeliveryRules = z.output<typeof deliveryRules>
