-- Takes a member of this node off the list.
-- KEYS: members, rooms of the node. ARGV: node, room, member, channel, 'last' if the
-- node has no other member there.
local held = redis.call('HGET', KEYS[1], ARGV[3])
if ARGV[5] == 'last' then redis.call('SREM', KEYS[2], ARGV[2]) end
if not held or string.sub(held, 1, 16) ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], '-' .. ARGV[1] .. #ARGV[3] .. ':' .. ARGV[3])
return 1
