import { groupName, type Work } from '../work.ts'
import type { Crowd } from './crowd.ts'
import { Lane } from './lane.ts'
import type { Line } from './line.ts'

/** Messages to groups, a lane for each; senders take turns. */
export function groupLanes(crowd: Crowd, lines: Line[], work: Extract<Work, { kind: 'groups' }>): Lane[] {
  const members = work.groups * work.members
  return Array.from({ length: work.groups }, (_, group) => {
    const senders = lines.slice(members + group * work.senders, members + (group + 1) * work.senders)
    const writers = senders.map((line) => {
      const message = crowd.dialect.message(line, { group: groupName(group) })
      return (count: number) => line.write(message(count))
    })
    let turn = 0
    const lane = new Lane({
      receivers: work.members,
      window: work.window,
      write(_, count) {
        // Each sender gets an equal share, in pieces as large as possible.
        const share = Math.ceil(count / writers.length)
        for (let rest = count; rest > 0; rest -= share) writers[turn++ % writers.length]?.(Math.min(share, rest))
      },
    })
    for (const [index, line] of lines.slice(group * work.members, (group + 1) * work.members).entries())
      line.hear = (messages) => lane.arrive(index, messages)
    return lane
  })
}

/** Who sends to whom when everybody sends to somebody else: to the next one, or to one in another process. */
export function pairs(lines: Line[], across: boolean): { from: Line; to: Line }[] {
  if (!across) return lines.map((from, index) => ({ from, to: lines[(index + 1) % lines.length] as Line }))
  const places = [...new Set(lines.map(({ place }) => place))]
  const [here = [], there = []] = places.map((place) => lines.filter((line) => line.place === place))
  const count = Math.min(here.length, there.length)
  if (places.length !== 2 || count < lines.length / 4)
    throw new Error(`The clients are in ${places.length} processes, not evenly in two.`)
  return here.slice(0, count).flatMap((one, index) => {
    const other = there[index] as Line
    return [
      { from: one, to: other },
      { from: other, to: one },
    ]
  })
}

/** Messages between pairs, a lane for each. */
export function directLanes(crowd: Crowd, lines: Line[], work: Extract<Work, { kind: 'direct' }>): Lane[] {
  return pairs(lines, work.across ?? false).map(({ from, to }) => {
    const message = crowd.dialect.message(from, { client: to.pass.name })
    const lane = new Lane({ receivers: 1, window: work.window, write: (_, count) => from.write(message(count)) })
    to.hear = (messages) => lane.arrive(0, messages)
    return lane
  })
}
