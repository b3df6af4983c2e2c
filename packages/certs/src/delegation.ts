import { certsError } from './errors.ts'
import type { Nameservers } from './nameservers.ts'

/** Resolvers follow about as many. */
const most = 8

/**
 * Where the TXT values of a challenge have to be published: the name itself, or where CNAME records lead from there (RFC
 * 8555, 8.4), so that a zone without an API can hand its challenges to one that has. Throws `delegation_broken`.
 */
export async function challengeTarget(name: string, nameservers: Nameservers): Promise<string> {
  const way = [name]
  for (;;) {
    const next = await follow(way.at(-1)!, nameservers)
    if (next === undefined) return way.at(-1)!
    if (way.includes(next)) throw certsError('delegation_broken', `${[...way, next].join(' -> ')} goes in a circle.`)
    way.push(next)
    if (way.length > most) throw certsError('delegation_broken', `${way.join(' -> ')} has no end.`)
  }
}

async function follow(name: string, nameservers: Nameservers): Promise<string | undefined> {
  try {
    return (await nameservers.cname(name))?.toLowerCase()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw certsError('delegation_broken', `Whether ${name} is a CNAME cannot be found out (${code}).`, { cause: error })
  }
}
