-- Says that a node lives, and unlists the members of those that have not said so.
-- KEYS: nodes, last beat. ARGV: node, milliseconds that a beat holds, prefix. Returns
-- 'known' or 'new', and 'more' if there is more to unlist.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local holds = tonumber(ARGV[2])
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local last = tonumber(redis.call('GET', KEYS[2]) or now)
-- While no node could reach Redis, none has missed anything.
if now - last > holds / 2 then
  for _, node in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZINCRBY', KEYS[1], now - last, node)
  end
end
redis.call('ZADD', KEYS[1], now + holds, ARGV[1])
redis.call('SET', KEYS[2], string.format('%.0f', now))
local more = 'all'
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))) do
  if not unlist(ARGV[3], node, '!') then
    more = 'more'
    break
  end
end
return {known and 'known' or 'new', more}
