const segment = /^[a-z0-9._-]{1,64}$/

/** Whether a text is one segment of a key: a group, a service, an instance. */
export function isSegment(text: string): boolean {
  return segment.test(text)
}

/** Whether a text is a record key: 1 to 8 segments joined by `/`, at most 255 characters. */
export function isKey(text: string): boolean {
  if (text.length > 255) return false
  const segments = text.split('/')
  return segments.length <= 8 && segments.every(isSegment)
}

/** Whether a text may be watched or listed: empty (all), a whole key, or a key followed by `/`. */
export function isPrefix(text: string): boolean {
  return text === '' || isKey(text.endsWith('/') ? text.slice(0, -1) : text)
}

/** Whether a key lies under a prefix: `node/` covers what begins with it, `node/a` only itself. */
export function isUnder(prefix: string, key: string): boolean {
  return prefix === '' || (prefix.endsWith('/') ? key.startsWith(prefix) : key === prefix)
}

/** Every prefix that a key lies under: none, each of its beginnings with `/`, and itself. */
export function prefixesOf(key: string): string[] {
  const prefixes = ['']
  for (let at = key.indexOf('/'); at >= 0; at = key.indexOf('/', at + 1)) prefixes.push(key.slice(0, at + 1))
  prefixes.push(key)
  return prefixes
}

/** Whether a text is an address that a client may send to: `all`, `group/G` or `client/SERVICE/INSTANCE`. */
export function isAddress(text: string): boolean {
  if (text === 'all') return true
  const [kind, name, instance, ...more] = text.split('/')
  if (more.length > 0 || name === undefined || !isSegment(name)) return false
  return kind === 'group' ? instance === undefined : kind === 'client' && instance !== undefined && isSegment(instance)
}

/** Whether a text is an event's name: one segment, dots inside. */
export function isEvent(text: string): boolean {
  return segment.test(text)
}

/** Whether a text is a session's id: 16 hex digits. */
export function isSession(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text)
}
