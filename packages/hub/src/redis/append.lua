-- Appends what is new of an origin to its log and publishes it, both or neither, and freezes the members of channels.
-- KEYS: origins, log, heads, n, members of each frozen channel
-- ARGV: origin, highest seq, log bound (ms), count of batches, then per batch: channel, last seq, bytes;
--   last, the prefix of pub/sub channels
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
local n = redis.call('INCR', KEYS[4])
local count = tonumber(ARGV[4])
if count > 0 then
  -- One field for all batches (u16 length of the channel, u32 of the bytes, both), since Lua unpacks no long tables.
  local entry = {}
  local heads = {}
  for i = 5, 2 + count * 3, 3 do
    entry[#entry + 1] = struct.pack('>I2I4', #ARGV[i], #ARGV[i + 2]) .. ARGV[i] .. ARGV[i + 2]
    heads[#heads + 1] = ARGV[i]
    heads[#heads + 1] = ARGV[i + 1]
    if #heads == 1000 or i + 3 > 2 + count * 3 then
      redis.call('HSET', KEYS[3], unpack(heads))
      heads = {}
    end
  end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', '20000', ARGV[2] .. '-0', 'n', n, 'batches', table.concat(entry))
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
  local stamp = struct.pack('>I8', n)
  for i = 5, 2 + count * 3, 3 do
    redis.call('PUBLISH', ARGV[5 + count * 3] .. ARGV[i], stamp .. ARGV[i + 2])
  end
end
local frozen = {}
for i = 5, #KEYS do frozen[#frozen + 1] = redis.call('HGETALL', KEYS[i]) end
return frozen
