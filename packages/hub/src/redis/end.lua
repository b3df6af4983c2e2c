-- Ends sessions and workers in stages, and records whose grace is over.
-- KEYS: origins, logs, away, suspects, swept, and the prefix of all keys of the hub
-- ARGV: what ('left' | 'lost' | 'release' | 'origin' | 'sweep'), session or origin, late sweep, lease, grace, away, resume,
--   log (ms); for a release, the origin and what is done
local prefix = KEYS[6]
local now = clock()
local lease_ms, grace_ms, away_ms, resume_ms, log_ms = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]

local gone, over = {}, {}

local function session_key(session) return prefix .. 'sess:' .. session end

-- Nothing of it is left, and nothing comes on its channel any more.
local function close(session)
  local origin = redis.call('HGET', session_key(session), 'origin')
  redis.call('DEL', session_key(session), prefix .. 'chans:' .. session, prefix .. 'leases:' .. session,
    prefix .. 'asked:' .. session, prefix .. 'picked:' .. session)
  redis.call('SREM', prefix .. 'sessions:' .. origin, session)
  redis.call('ZREM', KEYS[3], session)
  for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    redis.call('HDEL', prefix .. 'heads:' .. other, 'session/' .. session)
  end
  over[#over + 1] = session
end

local function left(session)
  local stage = redis.call('HGET', session_key(session), 'stage')
  if not stage then return end
  leave_all(prefix, session)
  for _, lease in ipairs(leases(prefix, session)) do remove(prefix, lease.key, lease.record, 'released') end
  if stage ~= 'lost' then gone[#gone + 1] = session end
  close(session)
end

local function lost(session)
  local stage, ticket = unpack(redis.call('HMGET', session_key(session), 'stage', 'ticket'))
  if not stage or stage == 'lost' then return end
  leave_all(prefix, session)
  for _, lease in ipairs(leases(prefix, session)) do
    redis.call('ZADD', KEYS[4], now + grace_ms, lease.key)
    restate(prefix, lease.key, lease.record, 'suspect')
  end
  gone[#gone + 1] = session
  if ticket == '' then return close(session) end
  redis.call('HSET', session_key(session), 'stage', 'lost', 'lost', redis.call('GET', prefix .. 'n') or '0')
  redis.call('ZADD', KEYS[3], now + resume_ms, session)
end

local function away(session)
  local stage, ticket = unpack(redis.call('HMGET', session_key(session), 'stage', 'ticket'))
  if stage ~= 'live' then return end
  if ticket == '' then return lost(session) end
  redis.call('HSET', session_key(session), 'stage', 'away')
  redis.call('ZADD', KEYS[3], now + away_ms, session)
end

local function expired(session)
  local subject = redis.call('HGET', session_key(session), 'subject')
  if not subject then return redis.call('ZREM', KEYS[3], session) end
  for _, lease in ipairs(leases(prefix, session)) do
    if lease.key == 'service/' .. subject .. '/' .. session then remove(prefix, lease.key, lease.record, 'expired') end
  end
  close(session)
end

local function release(session, origin, done)
  if not redis.call('ZSCORE', KEYS[1], origin) then return false end
  local owner, before = unpack(redis.call('HMGET', session_key(session), 'origin', 'done'))
  if owner ~= origin then return true end
  if tonumber(done) > tonumber(before or '0') then redis.call('HSET', session_key(session), 'done', done) end
  away(session)
  return true
end

local function finish_origin(origin)
  redis.call('ZREM', KEYS[1], origin)
  redis.call('ZADD', KEYS[2], 'XX', now + log_ms, origin)
  redis.call('PEXPIRE', prefix .. 'log:' .. origin, log_ms)
  redis.call('PEXPIRE', prefix .. 'heads:' .. origin, log_ms)
  for _, session in ipairs(redis.call('SMEMBERS', prefix .. 'sessions:' .. origin)) do away(session) end
  redis.call('DEL', prefix .. 'sessions:' .. origin)
  redis.call(publish, prefix .. 'ended', origin)
end

-- Nobody swept for long: nobody reached Redis, and nobody shall lose by it.
local function lengthen(key, by, most)
  local ends = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #ends, 2 do
    local later = ends[i + 1] + by
    redis.call('ZADD', key, most and math.min(later, now + most) or later, ends[i])
  end
end

local function sweep()
  local last = redis.call('GET', KEYS[5])
  redis.call('SET', KEYS[5], string.format('%.0f', now))
  if last and now - last >= tonumber(ARGV[3]) then
    lengthen(KEYS[1], now - last, lease_ms)
    lengthen(KEYS[4], now - last, grace_ms)
    lengthen(KEYS[3], now - last)
    return
  end
  for _, origin in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do finish_origin(origin) end
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now)) do
    local text = redis.call('HGET', prefix .. 'records', key)
    if text then remove(prefix, key, cjson.decode(text), 'expired') else redis.call('ZREM', KEYS[4], key) end
  end
  for _, session in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
    if redis.call('HGET', session_key(session), 'stage') == 'away' then lost(session) else expired(session) end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
end

if ARGV[1] == 'left' then
  left(ARGV[2])
elseif ARGV[1] == 'lost' then
  lost(ARGV[2])
elseif ARGV[1] == 'release' then
  if not release(ARGV[2], ARGV[9], ARGV[10]) then return redis.error_reply('FENCED this origin has ended') end
elseif ARGV[1] == 'origin' then
  finish_origin(ARGV[2])
else
  sweep()
end
if #gone > 0 then redis.call(publish, prefix .. 'gone', table.concat(gone, ' ')) end
if #over > 0 then redis.call(publish, prefix .. 'over', table.concat(over, ' ')) end
return #gone
