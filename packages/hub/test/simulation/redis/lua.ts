import { createHash } from 'node:crypto'
import { lauxlib, lua, lualib, type State, to_luastring } from 'fengari'
import { type Reply, textOf } from './data.ts'

/** One character per byte, as all texts of the simulated Redis. */
const bytesOf = (text: string) => Buffer.from(text, 'latin1')
const word = (text: string) => to_luastring(text)

/** What a script calls Redis with. */
export type Call = (name: string, args: string[]) => Reply

/** Lua of another version than in Redis: what the scripts need and it has elsewhere. */
const likeRedis = `
unpack = table.unpack
cjson, struct = {}, {}
redis = { error_reply = function(text) return { err = text } end }
`

/** Scripts as Redis runs them, by a Lua in JavaScript. */
export class LuaScripts {
  readonly #state: State = lauxlib.luaL_newstate()
  /** By the digest of its text, where the state keeps it. */
  readonly #loaded = new Map<string, number>()
  /** Makes another script of one before it is loaded. */
  readonly #rewrite: (text: string) => string
  #call: Call = () => null

  constructor(rewrite: (text: string) => string = (text) => text) {
    this.#rewrite = rewrite
    const state = this.#state
    lualib.luaL_openlibs(state)
    lauxlib.luaL_dostring(state, word(likeRedis))
    this.#define('redis', 'call', () => this.#callFrom(true))
    this.#define('redis', 'pcall', () => this.#callFrom(false))
    this.#define('cjson', 'encode', () => push(state, JSON.stringify(plainAt(state, 1))))
    this.#define('cjson', 'decode', () => pushPlain(state, JSON.parse(textAt(state, 1))))
    this.#define('struct', 'pack', () => push(state, packed(argumentsOf(state))))
  }

  /** Whether the script of this digest was loaded. */
  has(sha: string): boolean {
    return this.#loaded.has(sha)
  }

  /** Takes a script in; its digest. */
  load(text: string): string {
    const sha = createHash('sha1').update(text, 'latin1').digest('hex')
    if (this.#loaded.has(sha)) return sha
    const state = this.#state
    if (lauxlib.luaL_loadstring(state, bytesOf(this.#rewrite(text))) !== 0)
      throw new Error(lua.lua_tojsstring(state, -1))
    this.#loaded.set(sha, lauxlib.luaL_ref(state, lua.LUA_REGISTRYINDEX))
    return sha
  }

  run(sha: string, keys: string[], args: string[], call: Call): Reply {
    const state = this.#state
    this.#call = call
    for (const [name, list] of Object.entries({ KEYS: keys, ARGV: args })) {
      push(state, list)
      lua.lua_setglobal(state, word(name))
    }
    lua.lua_rawgeti(state, lua.LUA_REGISTRYINDEX, this.#loaded.get(sha) ?? 0)
    const failed = lua.lua_pcall(state, 0, 1, 0) !== 0
    const reply = replyAt(state, lua.lua_gettop(state))
    lua.lua_pop(state, 1)
    if (!failed) return reply
    return typeof reply === 'string' ? { error: `ERR ${reply}` } : reply
  }

  #define(table: string, name: string, act: () => void): void {
    const state = this.#state
    lauxlib.luaL_dostring(state, word(`return ${table}`))
    lua.lua_pushcfunction(state, () => {
      act()
      return 1
    })
    lua.lua_setfield(state, -2, word(name))
    lua.lua_pop(state, 1)
  }

  #callFrom(throws: boolean): void {
    const [name = '', ...args] = argumentsOf(this.#state)
    const reply = this.#call(name, args)
    push(this.#state, reply)
    if (throws && reply !== null && typeof reply === 'object' && 'error' in reply) lua.lua_error(this.#state)
  }
}

function argumentsOf(state: State): string[] {
  return Array.from({ length: lua.lua_gettop(state) }, (_, i) => textAt(state, i + 1))
}

function textAt(state: State, at: number): string {
  if (lua.lua_type(state, at) === lua.LUA_TNUMBER) return textOf(lua.lua_tonumber(state, at))
  return Buffer.from(lua.lua_tostring(state, at)).toString('latin1')
}

function pushNumber(state: State, value: number): void {
  if (value === (value | 0)) lua.lua_pushinteger(state, value)
  else lua.lua_pushnumber(state, value)
}

/** A reply as a script gets it. */
function push(state: State, reply: Reply): void {
  if (reply === null) lua.lua_pushboolean(state, false)
  else if (typeof reply === 'number') pushNumber(state, reply)
  else if (typeof reply === 'string') lua.lua_pushstring(state, bytesOf(reply))
  else if (Array.isArray(reply)) {
    lua.lua_createtable(state, reply.length, 0)
    reply.forEach((item, i) => {
      push(state, item)
      lua.lua_rawseti(state, -2, i + 1)
    })
  } else if ('pairs' in reply) push(state, reply.pairs.flat())
  else if ('couples' in reply) push(state, reply.couples.flat())
  else if ('double' in reply) push(state, textOf(reply.double))
  else {
    const [field, text] = 'error' in reply ? ['err', reply.error] : ['ok', reply.word]
    lua.lua_createtable(state, 0, 1)
    push(state, text)
    lua.lua_setfield(state, -2, word(field))
  }
}

/** What a script answers. */
function replyAt(state: State, at: number): Reply {
  const type = lua.lua_type(state, at)
  if (type === lua.LUA_TNIL) return null
  if (type === lua.LUA_TBOOLEAN) return lua.lua_toboolean(state, at) ? 1 : null
  if (type === lua.LUA_TNUMBER) return Math.trunc(lua.lua_tonumber(state, at))
  if (type === lua.LUA_TSTRING) return textAt(state, at)
  const error = fieldAt(state, at, 'err')
  if (error !== undefined) return { error }
  const text = fieldAt(state, at, 'ok')
  if (text !== undefined) return { word: text }
  const list: Reply[] = []
  for (let i = 1; lua.lua_rawgeti(state, at, i) !== lua.LUA_TNIL; i++) {
    list.push(replyAt(state, lua.lua_gettop(state)))
    lua.lua_pop(state, 1)
  }
  lua.lua_pop(state, 1)
  return list
}

function fieldAt(state: State, at: number, name: string): string | undefined {
  const type = lua.lua_getfield(state, at, word(name))
  const text = type === lua.LUA_TSTRING ? textAt(state, lua.lua_gettop(state)) : undefined
  lua.lua_pop(state, 1)
  return text
}

/** A Lua value as JSON has it; a table without a first item is an object. */
function plainAt(state: State, at: number): unknown {
  const type = lua.lua_type(state, at)
  if (type === lua.LUA_TNIL) return null
  if (type === lua.LUA_TBOOLEAN) return lua.lua_toboolean(state, at)
  if (type === lua.LUA_TNUMBER) return lua.lua_tonumber(state, at)
  if (type === lua.LUA_TSTRING) return textAt(state, at)
  const entries: [string, unknown][] = []
  lua.lua_pushnil(state)
  while (lua.lua_next(state, at) !== 0) {
    const top = lua.lua_gettop(state)
    entries.push([textAt(state, top - 1), plainAt(state, top)])
    lua.lua_pop(state, 1)
  }
  if (lua.lua_rawlen(state, at) > 0) return entries.sort(([a], [b]) => Number(a) - Number(b)).map(([, value]) => value)
  return Object.fromEntries(entries)
}

function pushPlain(state: State, value: unknown): void {
  if (value === null) lua.lua_pushnil(state)
  else if (typeof value === 'boolean') lua.lua_pushboolean(state, value)
  else if (typeof value === 'number') pushNumber(state, value)
  else if (typeof value === 'string') lua.lua_pushstring(state, bytesOf(value))
  else if (Array.isArray(value)) {
    lua.lua_createtable(state, value.length, 0)
    value.forEach((item, i) => {
      pushPlain(state, item)
      lua.lua_rawseti(state, -2, i + 1)
    })
  } else {
    lua.lua_createtable(state, 0, 0)
    for (const [name, item] of Object.entries(value as object)) {
      pushPlain(state, item)
      lua.lua_setfield(state, -2, word(name))
    }
  }
}

/** Big-endian whole numbers, as `>I2I4`. */
function packed([format = '', ...values]: string[]): string {
  const sizes = [...format.matchAll(/I(\d)/g)].map(([, size]) => Number(size))
  return sizes
    .map((size, i) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64BE(BigInt(values[i] ?? 0))
      return bytes.toString('latin1', 8 - size)
    })
    .join('')
}
