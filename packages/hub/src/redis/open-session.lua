-- A new session of a worker, member of its first channels.
-- KEYS: origins, n, session, sessions of the origin, and the prefix of all keys of the hub
-- ARGV: origin, session, subject, ticket (or ''), the channels
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
redis.call('HSET', KEYS[3], 'origin', ARGV[1], 'subject', ARGV[3], 'ticket', ARGV[4], 'stage', 'live')
redis.call('SADD', KEYS[4], ARGV[2])
local channels = { unpack(ARGV, 5) }
enter(KEYS[5], ARGV[2], ARGV[3], channels)
channels[#channels + 1] = 'session/' .. ARGV[2]
return { tonumber(redis.call('GET', KEYS[2]) or '0'), heads(KEYS[5], channels) }
