-- A new session of a worker, member of its first channels.
-- KEYS: origins, n, session, its channels, sessions of the origin, members of each channel
-- ARGV: origin, session, subject, the channels
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
redis.call('HSET', KEYS[3], 'origin', ARGV[1], 'subject', ARGV[3])
redis.call('SADD', KEYS[5], ARGV[2])
for i = 6, #KEYS do
  redis.call('HSET', KEYS[i], ARGV[2], ARGV[3])
  redis.call('SADD', KEYS[4], ARGV[i - 2])
end
return tonumber(redis.call('GET', KEYS[2]) or '0')
