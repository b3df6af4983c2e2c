-- A new worker: a number that was never used, and the epoch.
-- KEYS: origin, origins, epoch
-- ARGV: lease (ms), a random epoch in case there is none, and the number that its workers follow
if redis.call('SET', KEYS[3], ARGV[2], 'NX') then redis.call('SET', KEYS[1], ARGV[3]) end
local origin = redis.call('INCR', KEYS[1])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1], origin)
return { origin, redis.call('GET', KEYS[3]) }
