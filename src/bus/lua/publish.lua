-- Numbers messages, keeps them, and tells them at once.
-- KEYS: room, log, once. ARGV: run, fresh epoch, milliseconds to remember `once`,
-- length of the log, milliseconds to keep the room, channel, node, the node's number for
-- the first message, payloads.
-- Returns EPOCH:OFFSET of the first message, that of the first time if they have come
-- before.
local known = redis.call('GET', KEYS[3])
if known then return known end
local epoch = position(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local count = #ARGV - 8
local offset = redis.call('HINCRBY', KEYS[1], 'offset', count) - count
local at = string.format('%s:%.0f', epoch, offset + 1)
local told = {string.format('%s:%s:%s:', at, ARGV[7], ARGV[8])}
for n = 1, count do
  local id = string.format('%.0f-1', offset + n)
  local publisher = string.format('%s:%.0f', ARGV[7], ARGV[8] + n - 1)
  local payload = ARGV[8 + n]
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], id, 'k', publisher, 'p', payload)
  told[#told + 1] = #payload .. ':' .. payload
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[3], at, 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[6], table.concat(told))
return at
