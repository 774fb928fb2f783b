-- Lists a member, if no other node has one of this name.
-- KEYS: members, nodes, rooms of the node. ARGV: node, room, member, value, channel,
-- most members. Returns 'ok', 'taken', 'full', or 'unlisted' if the node is.
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 'unlisted' end
local held = redis.call('HGET', KEYS[1], ARGV[3])
if held and string.sub(held, 1, 16) ~= ARGV[1] then return 'taken' end
if not held and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then return 'full' end
redis.call('SADD', KEYS[3], ARGV[2])
local entry = ARGV[1] .. ARGV[4]
if held == entry then return 'ok' end
redis.call('HSET', KEYS[1], ARGV[3], entry)
redis.call('PUBLISH', ARGV[5], '+' .. ARGV[1] .. #ARGV[3] .. ':' .. ARGV[3] .. ARGV[4])
return 'ok'
