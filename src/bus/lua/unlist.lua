-- Takes the members of a node off the lists of up to 100 rooms, and tells it with
-- `mark`. True if that was all.
local function unlist(prefix, node, mark)
  local rooms = redis.call('SPOP', prefix .. ':node:' .. node, 100)
  for _, room in ipairs(rooms) do
    local members = prefix .. ':members:' .. room
    local all = redis.call('HGETALL', members)
    for n = 1, #all, 2 do
      if string.sub(all[n + 1], 1, 16) == node then
        redis.call('HDEL', members, all[n])
        redis.call('PUBLISH', prefix .. ':room:' .. room, mark .. node .. #all[n] .. ':' .. all[n])
      end
    end
  end
  if #rooms == 100 then return false end
  redis.call('ZREM', prefix .. ':nodes', node)
  return true
end
