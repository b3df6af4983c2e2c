-- Ends sessions and workers, and records whose grace is over.
-- KEYS: origins, revision, records, values, suspects, swept, and the prefix of all keys of the hub
-- ARGV: what ('session' | 'origin' | 'sweep'), session or origin, how ('left' | 'lost'),
--   grace, late sweep, lease (ms)
local prefix = KEYS[7]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function tell(change, value)
  redis.call('PUBLISH', prefix .. 'change', cjson.encode(change) .. '\n' .. (value or ''))
end

local function remove(key, record, reason)
  redis.call('HDEL', KEYS[3], key)
  redis.call('HDEL', KEYS[4], key)
  redis.call('ZREM', KEYS[5], key)
  if record.owner ~= '' then redis.call('SREM', prefix .. 'leases:' .. record.owner, key) end
  tell({ change = 'drop', key = key, revision = redis.call('INCR', KEYS[2]), reason = reason })
end

local function finish(session, how)
  local origin = redis.call('HGET', prefix .. 'sess:' .. session, 'origin')
  if not origin then return false end
  for _, channel in ipairs(redis.call('SMEMBERS', prefix .. 'chans:' .. session)) do
    redis.call('HDEL', prefix .. 'members:' .. channel, session)
  end
  for _, key in ipairs(redis.call('SMEMBERS', prefix .. 'leases:' .. session)) do
    local text = redis.call('HGET', KEYS[3], key)
    local record = text and cjson.decode(text)
    if record and record.owner == session then
      if how == 'left' then
        remove(key, record, 'released')
      else
        record.state = 'suspect'
        record.revision = redis.call('INCR', KEYS[2])
        redis.call('HSET', KEYS[3], key, cjson.encode(record))
        redis.call('ZADD', KEYS[5], now + ARGV[4], key)
        tell({ change = 'suspect', key = key, revision = record.revision, generation = record.generation, leased = true },
          redis.call('HGET', KEYS[4], key))
      end
    end
  end
  redis.call('DEL', prefix .. 'sess:' .. session, prefix .. 'chans:' .. session, prefix .. 'leases:' .. session)
  redis.call('SREM', prefix .. 'sessions:' .. origin, session)
  return true
end

local gone = {}
local function finish_origin(origin)
  redis.call('ZREM', KEYS[1], origin)
  for _, session in ipairs(redis.call('SMEMBERS', prefix .. 'sessions:' .. origin)) do
    if finish(session, 'lost') then gone[#gone + 1] = session end
  end
  redis.call('DEL', prefix .. 'sessions:' .. origin)
  redis.call('PUBLISH', prefix .. 'ended', origin)
end

-- Nobody swept for long: nobody reached Redis, and nobody shall lose by it.
local function lengthen(key, by, most)
  local ends = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #ends, 2 do redis.call('ZADD', key, math.min(ends[i + 1] + by, now + most), ends[i]) end
end

local function sweep()
  local last = redis.call('GET', KEYS[6])
  redis.call('SET', KEYS[6], string.format('%.0f', now))
  if last and now - last >= tonumber(ARGV[5]) then
    lengthen(KEYS[1], now - last, ARGV[6])
    lengthen(KEYS[5], now - last, ARGV[4])
    return
  end
  for _, origin in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do finish_origin(origin) end
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now)) do
    local text = redis.call('HGET', KEYS[3], key)
    if text then remove(key, cjson.decode(text), 'expired') else redis.call('ZREM', KEYS[5], key) end
  end
end

if ARGV[1] == 'session' then
  if finish(ARGV[2], ARGV[3]) then gone[1] = ARGV[2] end
elseif ARGV[1] == 'origin' then
  finish_origin(ARGV[2])
else
  sweep()
end
if #gone > 0 then redis.call('PUBLISH', prefix .. 'gone', table.concat(gone, ' ')) end
return #gone
