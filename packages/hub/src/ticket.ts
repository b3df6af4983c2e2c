import { createHash, randomBytes } from 'node:crypto'
import type { Identified } from './identity.ts'

/** A new secret by which its session can be taken over. */
export function newTicket(): string {
  return randomBytes(16).toString('base64url')
}

/** What the store knows of a ticket: nothing that could be shown to a hub, and good for the holder of one key only. */
export function ticketDigest(ticket: string, { key }: Identified): string {
  return createHash('sha256').update(`${ticket}\n${key}`).digest('base64url')
}
