-- release: drop the claim, so that the next one executes.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 ttl in ms
-- Returns  1, or 0: not this owner's, settled otherwise, or taken over
--
-- Races. The entry stays, without a claim, for its attempt number: the next execution must carry a higher
-- one, or an upstream that checks it could not tell a delayed first attempt from the second. Only the
-- owner in flight may release; once its outcome is unknown or recorded, dropping it could execute twice.
-- For the same reason an attempt that took over releases nothing, though it did nothing itself: the one
-- before it may have executed. Nothing is written where there is nothing: an absent id is as free as a
-- released one. A released id leaves no tombstone, for it was not used.

local owner, ttl_ms = ARGV[1], ARGV[2]
local entry = read()

if entry.state == 'absent' then
  return 1
end
if entry.owner ~= owner or entry.taken_over then
  return 0
end
if entry.state == 'in_flight' then
  enter('released', owner, entry.attempt, {}, '', ttl_ms, 0)
  return 1
end
return entry.state == 'released' and 1 or 0
