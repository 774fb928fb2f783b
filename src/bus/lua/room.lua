-- The epoch and the last number of a room. A room that another process of Redis has
-- written last, or that is not there, gets the epoch `fresh`.
local function position(room, log, run, fresh)
  local at = redis.call('HMGET', room, 'epoch', 'offset', 'run')
  if at[1] and at[3] == run then return at[1], at[2] end
  local offset = at[2] or '0'
  redis.call('HSET', room, 'epoch', fresh, 'offset', offset, 'run', run,
             'before', at[1] or '', 'until', offset)
  if not at[1] then redis.call('DEL', log) end
  return fresh, offset
end
