declare module 'fengari' {
  /** A Lua state, which holds a stack. */
  export interface State {
    readonly lua: unique symbol
  }
  type Bytes = Uint8Array

  export function to_luastring(text: string): Bytes

  export const lua: {
    readonly LUA_REGISTRYINDEX: number
    readonly LUA_TNIL: number
    readonly LUA_TBOOLEAN: number
    readonly LUA_TNUMBER: number
    readonly LUA_TSTRING: number
    lua_createtable(state: State, items: number, fields: number): void
    lua_error(state: State): never
    lua_getfield(state: State, at: number, name: Bytes): number
    lua_gettop(state: State): number
    lua_isinteger(state: State, at: number): boolean
    lua_next(state: State, at: number): number
    lua_pcall(state: State, args: number, results: number, handler: number): number
    lua_pop(state: State, count: number): void
    lua_pushboolean(state: State, value: boolean): void
    lua_pushcfunction(state: State, act: (state: State) => number): void
    lua_pushinteger(state: State, value: number): void
    lua_pushnil(state: State): void
    lua_pushnumber(state: State, value: number): void
    lua_pushstring(state: State, text: Bytes): void
    lua_rawgeti(state: State, at: number, index: number): number
    lua_rawlen(state: State, at: number): number
    lua_rawseti(state: State, at: number, index: number): void
    lua_setfield(state: State, at: number, name: Bytes): void
    lua_setglobal(state: State, name: Bytes): void
    lua_toboolean(state: State, at: number): boolean
    lua_tojsstring(state: State, at: number): string
    lua_tonumber(state: State, at: number): number
    lua_tostring(state: State, at: number): Bytes
    lua_type(state: State, at: number): number
  }

  export const lauxlib: {
    luaL_dostring(state: State, text: Bytes): boolean
    luaL_loadstring(state: State, text: Bytes): number
    luaL_newstate(): State
    luaL_ref(state: State, at: number): number
  }

  export const lualib: { luaL_openlibs(state: State): void }
}
