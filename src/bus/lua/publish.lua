-- Numbers a message, keeps it, and tells it.
-- KEYS: room, log, once. ARGV: run, fresh epoch, milliseconds to remember `once`,
-- length of the log, milliseconds to keep the room, channel, publisher, payload.
-- Returns EPOCH:OFFSET, that of the first time if the message has come before.
local known = redis.call('GET', KEYS[3])
if known then return known end
local epoch = position(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'offset', 1))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-1', 'k', ARGV[7], 'p', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local at = epoch .. ':' .. offset
redis.call('SET', KEYS[3], at, 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[6], at .. ':' .. ARGV[7] .. ':' .. ARGV[8])
return at
