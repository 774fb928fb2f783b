-- The members of a room.
-- KEYS: members. ARGV: most members, most bytes. Returns how many there are, and for
-- each its name and its node with its value.
local all = redis.call('HGETALL', KEYS[1])
local reply = {#all / 2}
local bytes = 0
for n = 1, math.min(#all, 2 * tonumber(ARGV[1])), 2 do
  bytes = bytes + #all[n] + #all[n + 1]
  if bytes > tonumber(ARGV[2]) then break end
  reply[#reply + 1] = all[n]
  reply[#reply + 1] = all[n + 1]
end
return reply
