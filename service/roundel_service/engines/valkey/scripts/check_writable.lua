-- Fails if the primary refuses writes. SET with XX of a missing key writes nothing.
-- KEYS: data id, a key that never exists.

return redis.call('SET', KEYS[2], '', 'XX')
