-- Puts, patches or drops a record; the rules stand in embedded/state.ts too, and one contract test holds both.
-- KEYS: revision, records, values, suspects, session of the owner, and the prefix of all keys of the hub
-- ARGV: what ('put' | 'patch' | 'drop'), owner, subject, key, leased (1 | 0), expect (or ''), generation (or ''), reason, value,
--   how many kept records the subject may have (or '')
local prefix = KEYS[6]
local what, owner, subject, key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local leased = ARGV[5] == '1'
local text = redis.call('HGET', KEYS[2], key)
local old = text and cjson.decode(text)
local live = old and old.leased and old.state == 'live'

if what ~= 'put' and not old then return { 'not_found' } end
if what == 'patch' then
  if not live or old.owner ~= owner then return { 'not_owner' } end
else
  if ARGV[6] ~= '' and tonumber(ARGV[6]) ~= (old and old.revision or 0) then return { 'conflict' } end
  local own = old and old.leased and old.owner == owner
  if old and not own and ARGV[7] ~= '' and old.generation > tonumber(ARGV[7]) then return { 'conflict' } end
  if live and old.owner ~= owner and old.subject ~= subject then return { 'not_owner' } end
  if what == 'put' and leased then
    local stage = redis.call('HGET', KEYS[5], 'stage')
    if not stage or stage == 'lost' then return { 'disconnected' } end
  end
  if what == 'put' and not leased and ARGV[10] ~= '' and not (old and not old.leased and old.subject == subject) then
    local kept = tonumber(redis.call('HGET', prefix .. 'kept', subject) or '0')
    if kept >= tonumber(ARGV[10]) then return { 'limit_reached' } end
  end
end

if what == 'drop' then return { 'ok', remove(prefix, key, old, ARGV[8]), old.generation } end
local revision = redis.call('INCR', KEYS[1])

local record
if what == 'patch' then
  record = old
  record.revision = revision
else
  local same = old and old.leased == leased and (old.owner == owner or not leased)
  record = {
    revision = revision,
    generation = same and old.generation or revision,
    leased = leased,
    state = 'live',
    owner = leased and owner or '',
    subject = subject,
  }
  count_kept(prefix, old, -1)
  count_kept(prefix, record, 1)
  if old and old.owner ~= '' then redis.call('SREM', prefix .. 'leases:' .. old.owner, key) end
  if leased then redis.call('SADD', prefix .. 'leases:' .. owner, key) end
  redis.call('ZREM', KEYS[4], key)
end
redis.call('HSET', KEYS[2], key, cjson.encode(record))
redis.call('HSET', KEYS[3], key, ARGV[9])
tell(prefix, { change = 'put', key = key, revision = revision, generation = record.generation, leased = record.leased }, ARGV[9])
return { 'ok', revision, record.generation }
