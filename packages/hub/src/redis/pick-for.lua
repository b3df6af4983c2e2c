-- Picks the member of a channel that is picked for the fewest requests which are neither settled nor past their deadline.
-- KEYS: members of the channel, and the prefix of all keys of the hub
-- ARGV: requester's session, number of the request, its deadline (ms), a random number, among how many members, then the
--   members that it must not be
local prefix = KEYS[2]
local now = clock()
local flat = redis.call('HRANDFIELD', KEYS[1], ARGV[5] + #ARGV - 5, 'WITHVALUES')
local except = {}
for i = 6, #ARGV do except[ARGV[i]] = true end
local fewest, best = math.huge, {}
for i = 1, #flat, 2 do
  if not except[flat[i]] then
    local load = redis.call('ZCOUNT', prefix .. 'picked:' .. flat[i], '(' .. now, '+inf')
    if load < fewest then fewest, best = load, {} end
    if load == fewest then best[#best + 1] = i end
  end
end
if #best == 0 then return {} end
local at = best[1 + ARGV[4] % #best]
local picked = prefix .. 'picked:' .. flat[at]
redis.call('ZREMRANGEBYSCORE', picked, '-inf', now)
redis.call('ZADD', picked, now + ARGV[3], ARGV[1] .. '/' .. ARGV[2])
redis.call('PEXPIRE', picked, 600000)
return { flat[at], flat[at + 1] }
