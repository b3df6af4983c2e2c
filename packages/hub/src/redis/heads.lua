-- Where every origin stands on channels, and an echo by which the asker's own subscription says that it has all of that.
-- KEYS: counter of echoes, and the prefix of all keys of the hub
-- ARGV: origin, name of the question, the channels
local count = redis.call('INCR', KEYS[1])
redis.call(publish, KEYS[2] .. 'worker:' .. ARGV[1], 'echo ' .. ARGV[2] .. ' ' .. count)
return { count, heads(KEYS[2], { unpack(ARGV, 3) }) }
