-- Makes a session a member of a channel.
-- KEYS: n, session, and the prefix of all keys of the hub
-- ARGV: session, channel
local subject = redis.call('HGET', KEYS[2], 'subject')
if not subject then return redis.error_reply('GONE the session has ended') end
enter(KEYS[3], ARGV[1], subject, { ARGV[2] })
return { tonumber(redis.call('GET', KEYS[1]) or '0'), heads(KEYS[3], { ARGV[2] }) }
