-- Appends one tick of an origin to its log and publishes it, both or neither, and freezes the members of channels.
-- KEYS: origins, log, heads, n, members of each frozen channel
-- ARGV: origin, last seq, log bound (ms), count of batches, then per batch: channel, last seq, bytes;
--   last, the prefix of pub/sub channels
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
local n = redis.call('INCR', KEYS[4])
local count = tonumber(ARGV[4])
if count > 0 then
  local entry = { 'XADD', KEYS[2], 'MAXLEN', '~', '20000', ARGV[2] .. '-0', 'n', n }
  local heads = { 'HSET', KEYS[3] }
  for i = 0, count - 1 do
    entry[#entry + 1] = ARGV[5 + i * 3]
    entry[#entry + 1] = ARGV[7 + i * 3]
    heads[#heads + 1] = ARGV[5 + i * 3]
    heads[#heads + 1] = ARGV[6 + i * 3]
  end
  redis.call(unpack(entry))
  redis.call(unpack(heads))
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
  for i = 0, count - 1 do
    redis.call('PUBLISH', ARGV[5 + count * 3] .. ARGV[5 + i * 3], struct.pack('>I8', n) .. ARGV[7 + i * 3])
  end
end
local frozen = {}
for i = 5, #KEYS do frozen[#frozen + 1] = redis.call('HGETALL', KEYS[i]) end
return frozen
