-- wait: what whoever waits for the id looks at, how long it stays in flight by itself. Changes nothing.
--
-- KEYS[1]  the entry
-- ARGV     none
-- Returns  ms of lease left, or 0: not in flight (any more), or its lease ran out
--
-- Races. What it answers may be over before it arrives. It is asked after subscribing to the id's channel,
-- and a transition publishes in the step that ends in_flight: whatever this read did not see yet is
-- therefore still to be heard.

local entry = read()
if entry.state ~= 'in_flight' then
  return 0
end
if type(entry.lease_until) ~= 'number' then
  corrupt('the entry is in flight and has no lease')
end
return math.max(0, entry.lease_until - now)
