-- Writes kept records back into a Redis that was emptied, but for those that somebody has written since.
-- KEYS: revision, records, values
-- ARGV: the revision that their owner knew, then per record: key, what is known of it, value
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
local count = 0
for i = 2, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
    count = count + 1
  end
end
return count
