-- What several scripts need; stands in front of each. `publish` is set before it: PUBLISH, or SPUBLISH in a cluster.
-- Every key of the hub begins with its prefix, which holds a hash tag: all are in one slot.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tell(prefix, change, value)
  redis.call(publish, prefix .. 'change', cjson.encode(change) .. '\n' .. (value or ''))
end

-- Where every origin stands on each channel, as origin, channel, number, one behind another: its last number there, or the
-- highest that it has forgotten.
local function heads(prefix, channels)
  local flat = {}
  for _, origin in ipairs(redis.call('ZRANGE', prefix .. 'logs', 0, -1)) do
    local seqs = redis.call('HMGET', prefix .. 'heads:' .. origin, 'floor', unpack(channels))
    for i, channel in ipairs(channels) do
      local seq = seqs[i + 1] or seqs[1]
      if seq then
        flat[#flat + 1] = origin
        flat[#flat + 1] = channel
        flat[#flat + 1] = seq
      end
    end
  end
  return flat
end

local function enter(prefix, session, subject, channels)
  for _, channel in ipairs(channels) do
    redis.call('HSET', prefix .. 'members:' .. channel, session, subject)
    redis.call('SADD', prefix .. 'chans:' .. session, channel)
  end
end

local function leave_all(prefix, session)
  for _, channel in ipairs(redis.call('SMEMBERS', prefix .. 'chans:' .. session)) do
    redis.call('HDEL', prefix .. 'members:' .. channel, session)
  end
  redis.call('DEL', prefix .. 'chans:' .. session)
end

-- The records that a session owns: key and what is known of it but the value.
local function leases(prefix, session)
  local owned = {}
  for _, key in ipairs(redis.call('SMEMBERS', prefix .. 'leases:' .. session)) do
    local text = redis.call('HGET', prefix .. 'records', key)
    local record = text and cjson.decode(text)
    if record and record.owner == session then owned[#owned + 1] = { key = key, record = record } end
  end
  return owned
end

-- Another state of a record, with its value told anew.
local function restate(prefix, key, record, state)
  record.state = state
  record.revision = redis.call('INCR', prefix .. 'revision')
  redis.call('HSET', prefix .. 'records', key, cjson.encode(record))
  local change = state == 'suspect' and 'suspect' or 'put'
  tell(prefix, { change = change, key = key, revision = record.revision, generation = record.generation, leased = true },
    redis.call('HGET', prefix .. 'values', key))
end

-- Kept records count for who wrote them.
local function count_kept(prefix, record, by)
  -- Of what was written back into an emptied Redis nobody knows who wrote it.
  if not record or record.leased or (record.subject or '') == '' then return end
  if redis.call('HINCRBY', prefix .. 'kept', record.subject, by) <= 0 then
    redis.call('HDEL', prefix .. 'kept', record.subject)
  end
end

local function remove(prefix, key, record, reason)
  count_kept(prefix, record, -1)
  redis.call('HDEL', prefix .. 'records', key)
  redis.call('HDEL', prefix .. 'values', key)
  redis.call('ZREM', prefix .. 'suspects', key)
  if record.owner ~= '' then redis.call('SREM', prefix .. 'leases:' .. record.owner, key) end
  local revision = redis.call('INCR', prefix .. 'revision')
  tell(prefix, { change = 'drop', key = key, revision = revision, reason = reason })
  return revision
end
