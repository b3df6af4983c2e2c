-- Makes a worker the owner of a session that has none, and has the worker's own subscription say when it has all before.
-- KEYS: origins, n, session, away, suspects, and the prefix of all keys of the hub
-- ARGV: origin, session, subject, ticket, the channels
local prefix, session = KEYS[6], ARGV[2]
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return redis.error_reply('FENCED this origin has ended') end
local owner, subject, ticket, stage, done, lost =
  unpack(redis.call('HMGET', KEYS[3], 'origin', 'subject', 'ticket', 'stage', 'done', 'lost'))
if not owner or ticket == '' or ticket ~= ARGV[4] or subject ~= ARGV[3] then return { 'unknown_session' } end
if stage == 'live' then
  redis.call(publish, prefix .. 'worker:' .. owner, 'release ' .. session)
  return { 'busy', tonumber(owner) }
end
redis.call('SREM', prefix .. 'sessions:' .. owner, session)
redis.call('SADD', prefix .. 'sessions:' .. ARGV[1], session)
redis.call('HSET', KEYS[3], 'origin', ARGV[1], 'stage', 'live')
redis.call('HDEL', KEYS[3], 'lost')
redis.call('ZREM', KEYS[4], session)
leave_all(prefix, session)
local channels = { unpack(ARGV, 5) }
enter(prefix, session, subject, channels)
local owned = {}
for i, lease in ipairs(leases(prefix, session)) do
  owned[i] = lease.key
  if lease.record.state ~= 'live' then
    redis.call('ZREM', KEYS[5], lease.key)
    restate(prefix, lease.key, lease.record, 'live')
  end
end
-- A take-over that was sent twice is echoed twice: the number tells which.
local gen = redis.call('HINCRBY', KEYS[3], 'gen', 1)
redis.call(publish, prefix .. 'worker:' .. ARGV[1], 'echo ' .. session .. ' ' .. gen)
channels[#channels + 1] = 'session/' .. session
local n = tonumber(redis.call('GET', KEYS[2]) or '0')
return { 'ok', tonumber(owner), gen, tonumber(done or '0'), lost and tonumber(lost) or -1, n, heads(prefix, channels), owned }
