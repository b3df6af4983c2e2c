-- An origin keeps no heads of these channels; its floor is the highest of them.
-- KEYS: heads
-- ARGV: the channels
local floor = tonumber(redis.call('HGET', KEYS[1], 'floor') or '0')
for _, channel in ipairs(ARGV) do
  local seq = tonumber(redis.call('HGET', KEYS[1], channel) or '0')
  if seq > floor then floor = seq end
  redis.call('HDEL', KEYS[1], channel)
end
if floor > 0 then redis.call('HSET', KEYS[1], 'floor', string.format('%.0f', floor)) end
