-- Makes a session a member of a channel.
-- KEYS: n, session, its channels, members of the channel
-- ARGV: session, channel
local subject = redis.call('HGET', KEYS[2], 'subject')
if not subject then return redis.error_reply('GONE the session has ended') end
redis.call('HSET', KEYS[4], ARGV[1], subject)
redis.call('SADD', KEYS[3], ARGV[2])
return tonumber(redis.call('GET', KEYS[1]) or '0')
