-- Appends what is new of an origin to its log and publishes it, both or neither, freezes the members of channels, and
-- remembers what is asked.
-- KEYS: origins, log, heads, n, the prefix of all keys of the hub, members of each frozen channel
-- ARGV: origin, highest seq, the number up to which the log is cut (0: none), count of batches, then per batch: channel,
--   last seq, bytes; the prefix of pub/sub channels; per request: requester's session, number, deadline (ms), JSON of the
--   rest, which of the frozen channels its receivers are in (0: none), else the receiver: session and subject
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
local count = tonumber(ARGV[4])
local frozen = {}
local function remember(at)
  local session, number, channel = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4])
  local key = KEYS[5] .. 'asked:' .. session
  local members = channel > 0 and frozen[channel] or { ARGV[at + 5], ARGV[at + 6] }
  if #members == 0 then return end
  local before = redis.call('HGET', key, number)
  local asked = before and cjson.decode(before)
  if asked and channel > 0 then return end
  if asked then
    for _, part in ipairs(members) do asked.members[#asked.members + 1] = part end
  else
    local ends = string.format('%.0f', clock() + ARGV[at + 2])
    asked = { number = tonumber(number), rest = ARGV[at + 3], ends = ends, members = members,
      heads = heads(KEYS[5], { 'session/' .. session }) }
  end
  redis.call('HSET', key, number, cjson.encode(asked))
  redis.call('PEXPIRE', key, 600000)
end
local function freeze()
  for i = 6, #KEYS do frozen[#frozen + 1] = redis.call('HGETALL', KEYS[i]) end
  for at = 6 + count * 3, #ARGV, 7 do remember(at) end
  return frozen
end
if count > 0 then
  local n = redis.call('INCR', KEYS[4])
  -- One field for all batches (u16 length of the channel, u32 of the bytes, both), since Lua unpacks no long tables.
  local entry = {}
  for i = 5, 2 + count * 3, 3 do
    entry[#entry + 1] = struct.pack('>I2I4', #ARGV[i], #ARGV[i + 2]) .. ARGV[i] .. ARGV[i + 2]
  end
  local added = redis.pcall('XADD', KEYS[2], ARGV[2] .. '-0', 'n', n, 'batches', table.concat(entry))
  if type(added) == 'table' and added.err then
    -- It is in the log, so it was published: this is the same append once more.
    if string.find(added.err, 'equal or smaller', 1, true) then return freeze() end
    return added
  end
  local heads = {}
  for i = 5, 2 + count * 3, 3 do
    heads[#heads + 1] = ARGV[i]
    heads[#heads + 1] = ARGV[i + 1]
    if #heads == 1000 or i + 3 > 2 + count * 3 then
      redis.call('HSET', KEYS[3], unpack(heads))
      heads = {}
    end
  end
  if ARGV[3] ~= '0' then
    redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[3] .. '-1')
    redis.call('HSET', KEYS[3], 'trimmed', ARGV[3])
  end
  local stamp = struct.pack('>I8', n)
  for i = 5, 2 + count * 3, 3 do
    redis.call(publish, ARGV[5 + count * 3] .. ARGV[i], stamp .. ARGV[i + 2])
  end
end
return freeze()
