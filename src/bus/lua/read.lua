-- What a room has behind a position.
-- KEYS: room, log. ARGV: run, fresh epoch, milliseconds to keep the room, epoch and
-- offset of the position, most messages, most bytes, most bytes of one message.
-- Returns epoch, last number, how the position is related to them ('same', 'before' or
-- 'unknown'), the epoch before and its last number, 'more' or 'all', and for each
-- message its number, its publisher and its payload (null: it is too long).
local epoch, head = position(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local past = redis.call('HMGET', KEYS[1], 'before', 'until')
local reply = {epoch, head, 'unknown', past[1], past[2], 'all'}
local from
if ARGV[4] == epoch then
  reply[3], from = 'same', tonumber(ARGV[5])
elseif ARGV[4] ~= '' and ARGV[4] == past[1] then
  reply[3], from = 'before', math.min(tonumber(ARGV[5]), tonumber(past[2]))
elseif ARGV[4] ~= '' then
  -- Of this epoch it has had nothing.
  from = tonumber(past[2])
end
if from and from < tonumber(head) then
  local most = tonumber(ARGV[6])
  local first = string.format('%.0f-0', from + 1)
  local entries = redis.call('XRANGE', KEYS[2], first, '+', 'COUNT', most)
  local bytes = 0
  for n, entry in ipairs(entries) do
    local payload = entry[2][4]
    if #payload > tonumber(ARGV[8]) then payload = false end
    bytes = bytes + (payload and #payload or 0)
    if n > 1 and bytes > tonumber(ARGV[7]) then
      reply[6] = 'more'
      break
    end
    reply[#reply + 1] = string.match(entry[1], '^%d+')
    reply[#reply + 1] = entry[2][2]
    reply[#reply + 1] = payload
  end
  if #entries == most then reply[6] = 'more' end
end
return reply
