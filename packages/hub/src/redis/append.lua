-- Appends what is new of an origin to its log and publishes it, both or neither, and freezes the members of channels.
-- KEYS: origins, log, heads, n, members of each frozen channel
-- ARGV: origin, highest seq, the number up to which the log is cut (0: none), count of batches, then per batch: channel,
--   last seq, bytes; last, the prefix of pub/sub channels
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
local count = tonumber(ARGV[4])
local frozen = {}
local function freeze()
  for i = 5, #KEYS do frozen[#frozen + 1] = redis.call('HGETALL', KEYS[i]) end
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
