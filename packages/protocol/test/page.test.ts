import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ZodMiniType } from 'zod/mini'
import { closes } from '../src/closes.ts'
import { encodeClientFrame, encodeHubFrame } from '../src/codec-binary.ts'
import { dataFrames, decodeClientText, decodeHubText } from '../src/codec-json.ts'
import { errors } from '../src/errors.ts'
import {
  type ClientFrame,
  clientControl,
  frameNumbers,
  type HubFrame,
  hubControl,
  notResumed,
  replyVerdicts,
  verdicts,
  withPayload,
} from '../src/frames.ts'
import { limits } from '../src/limits.ts'
import { clientFrames, hubFrames } from './arbitrary-frames.ts'

const page = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8')

/** Parts of the page by their headings, each with what stands below it up to the next heading of any level. */
const sections = page
  .split(/^#+ /m)
  .slice(1)
  .map((text) => {
    const end = text.indexOf('\n')
    return { heading: text.slice(0, end), text: text.slice(end) }
  })

function section(heading: string): string {
  const found = sections.filter((part) => part.heading === heading)
  expect(found, `sections with the heading "${heading}"`).toHaveLength(1)
  return found[0]?.text ?? ''
}

/** The rows of a section's first table, without its head; code marks are taken off. */
function table(heading: string): string[][] {
  const rows = /(?:^\|.*\|$\n?)+/m.exec(section(heading))?.[0].trim().split('\n') ?? []
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  )
}

interface Definition {
  type: string
  innerType?: ZodMiniType
  shape?: Record<string, ZodMiniType>
  element?: ZodMiniType
}

function definition(schema: ZodMiniType): Definition {
  return schema._zod.def as unknown as Definition
}

/** Names of an object's fields, with `?` where they may be left out, and those of the objects in it. */
function fieldsOf(schema: ZodMiniType, prefix = ''): string[] {
  return Object.entries(definition(schema).shape ?? {}).flatMap(([name, field]) => {
    const { type, innerType } = definition(field)
    const optional = type === 'optional' || type === 'default'
    const inner = optional && innerType ? innerType : field
    return [`${prefix}${name}${optional ? '?' : ''}`, ...fieldsOf(inner, `${prefix}${name}.`)]
  })
}

function elementOf(schema: ZodMiniType | undefined): ZodMiniType {
  const element = schema && definition(schema).element
  if (!element) throw new Error('This is no list.')
  return element
}

const frames = [
  ...Object.entries({ ...dataFrames.client, ...clientControl }).map(
    ([type, schema]) => ['client', type, schema] as const,
  ),
  ...Object.entries({ ...dataFrames.hub, ...hubControl }).map(([type, schema]) => ['hub', type, schema] as const),
]

describe('the page has', () => {
  test.each(frames)('of the %s the frame %s with its number and all of its fields', (side, type, schema) => {
    const number = (frameNumbers[side] as Record<string, number>)[type]
    const payload = Object.hasOwn(dataFrames[side], type) || withPayload[side].has(type) ? ['payload'] : []
    const listed = table(`${type} (${number})`).map(([name]) => name)
    expect(listed.sort()).toEqual([...fieldsOf(schema), ...payload].sort())
  })

  test('no frame that does not exist', () => {
    const listed = sections.map(({ heading }) => /^([a-z]+) \((\d+)\)$/.exec(heading)).filter((match) => match !== null)
    const numbers = [...Object.entries(frameNumbers.client), ...Object.entries(frameNumbers.hub)]
    expect(listed.map(([, type, number]) => [type, Number(number)])).toEqual(numbers)
  })

  test('the fields of a position and of an entry', () => {
    const position = elementOf(hubControl.welcome.shape.positions)
    const entry = elementOf(hubControl.records.shape.entries)
    expect(table('position').map(([name]) => name)).toEqual(fieldsOf(position))
    expect(
      table('entry')
        .map(([name]) => name)
        .sort(),
    ).toEqual(fieldsOf(entry).sort())
  })

  test('every verdict with its number and who says it', () => {
    const expected = verdicts.map((verdict, number) => {
      const said = (replyVerdicts as readonly string[]).includes(verdict) ? 'receiver' : 'hub'
      return [String(number), verdict, said]
    })
    expect(table('Verdicts').map((row) => row.slice(0, 3))).toEqual(expected)
  })

  test('every limit with its value', () => {
    const expected = Object.entries(limits).map(([name, value]) => [name, String(value)])
    expect(table('Limits').map((row) => row.slice(0, 2))).toEqual(expected)
  })

  test('every error with whether to try again', () => {
    const expected = Object.entries(errors).map(([code, { retry }]) => [code, retry ? 'yes' : 'no'])
    expect(table('Errors').map((row) => row.slice(0, 2))).toEqual(expected)
  })

  test('every close code with whether to come back', () => {
    const expected = Object.entries(closes).map(([name, { code, retry }]) => [String(code), name, retry ? 'yes' : 'no'])
    expect(table('Close codes').map((row) => row.slice(0, 3))).toEqual(expected)
  })

  test('in its prose no word of a table that does not exist', () => {
    const known = new Set([...Object.keys(errors), ...Object.keys(closes), ...verdicts, ...notResumed])
    const words = [...page.matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)].map(([, word]) => word)
    expect(words.filter((word) => !known.has(word ?? ''))).toEqual([])
  })

  test('no link to a part of it that does not exist', () => {
    const anchors = new Set(
      sections.map(({ heading }) =>
        heading
          .toLowerCase()
          .replaceAll(' ', '-')
          .replace(/[^\w-]/g, ''),
      ),
    )
    const links = [...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link ?? '')
    expect(links.length).toBeGreaterThan(10)
    expect(links.filter((link) => !anchors.has(link))).toEqual([])
  })

  test('a conversation in which every line is a frame of its side', () => {
    const lines = section('A conversation')
      .split('\n')
      .filter((line) => /^[<>] /.test(line))
    expect(lines.length).toBeGreaterThan(20)
    for (const line of lines) {
      if (line.startsWith('>')) decodeClientText(line.slice(2))
      else decodeHubText(line.slice(2))
    }
  })
})

/** Takes bytes apart as a table of the page says. */
function readAs(heading: string, bytes: Uint8Array): Record<string, unknown> {
  const buffer = Buffer.from(bytes)
  const values: Record<string, unknown> = {}
  let at = 0
  for (const [size = '', field = ''] of table(heading)) {
    const length = size === 'rest' ? buffer.length - at : Number(values[size] ?? size)
    const piece = buffer.subarray(at, at + length)
    at += length
    if (field === 'session') values[field] = piece.toString('hex')
    else if (field === 'payload') values[field] = new Uint8Array(piece)
    else values[field] = /^\d+$/.test(size) ? piece.readUIntBE(0, length) : piece.toString()
  }
  expect(at).toBe(buffer.length)
  return values
}

const flagBits = { again: 1, any: 2, bytes: 4, late: 8, request: 16, idempotent: 64 }

describe('as the page lays it out stands in bytes', () => {
  test.each([
    ['client', 'send', 'Layout of send'],
    ['client', 'request', 'Layout of request'],
    ['client', 'reply', 'Layout of reply and part of a client'],
    ['client', 'part', 'Layout of reply and part of a client'],
    ['hub', 'message', 'Layout of message'],
    ['hub', 'verdict', 'Layout of verdict and part of the hub'],
    ['hub', 'part', 'Layout of verdict and part of the hub'],
  ] as const)("the %s's %s", (side, type, heading) => {
    const arbitrary = (side === 'client' ? clientFrames : hubFrames).find(([name]) => name === type)?.[1]
    if (!arbitrary) throw new Error(`There are no frames ${type}.`)
    fc.assert(
      fc.property(arbitrary as fc.Arbitrary<ClientFrame | HubFrame>, (frame) => {
        const bytes = side === 'client' ? encodeClientFrame(frame as ClientFrame) : encodeHubFrame(frame as HubFrame)
        const { type: typeNumber, flags, ...read } = readAs(heading, bytes)
        expect(typeNumber).toBe((frameNumbers[side] as Record<string, number>)[type])
        for (const [name, value] of Object.entries(frame)) {
          const bit = typeof value === 'boolean' ? flagBits[name as keyof typeof flagBits] : undefined
          if (bit !== undefined) expect([name, ((flags as number) & bit) !== 0]).toEqual([name, value])
          else if (name === 'verdict') expect(verdicts[read.verdict as number]).toBe(value)
          else if (name !== 'type') expect([name, read[name]]).toEqual([name, value])
        }
      }),
    )
  })

  test('every other frame', () => {
    const payload = new Uint8Array([1, 2, 3])
    const read = readAs('Layout of all other frames', encodeClientFrame({ type: 'put', id: 7, key: 'node/a', payload }))
    expect(read).toMatchObject({ type: frameNumbers.client.put, flags: 0, payload })
    expect(JSON.parse(String(read.fields))).toEqual({ id: 7, key: 'node/a' })
  })
})
