-- The requests of a session that are not settled, each as JSON, and what the clock says.
-- KEYS: the session's requests
local asked = redis.call('HVALS', KEYS[1])
asked[#asked + 1] = string.format('%.0f', clock())
return asked
