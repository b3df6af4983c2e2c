-- Lengthens a worker's lease, if it still has one, and cuts its log.
-- KEYS: origins, log, heads
-- ARGV: origin, lease (ms), the number up to which the log is cut (0: none)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], clock() + ARGV[2], ARGV[1])
if ARGV[3] ~= '0' then
  redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[3] .. '-1')
  redis.call('HSET', KEYS[3], 'trimmed', ARGV[3])
end
return 1
