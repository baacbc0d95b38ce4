-- renew: extend the lease of the attempt in flight.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 attempt · 3 lease in ms · 4 ttl in ms · 5 tombstone in ms
-- Returns  1, or 0: not this owner's any more, or settled
--
-- Races. A renewal that arrives after its lease ran out still counts while nobody has taken the id over:
-- the owner is alive, which is what the lease asks. One that finds nothing (a flush, a failover that lost
-- the claim) puts the claim back: nobody newer is there, and an id that looks free while its request is
-- being executed is the dangerous error.

local owner, lease_ms, ttl_ms, tombstone_ms = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local entry = read()

if entry.state == 'absent' then
  local fields = { lease_until = ends(lease_ms), expires = ends(ttl_ms) }
  enter('in_flight', owner, ARGV[2], fields, '', ttl_ms, tombstone_ms)
  return 1
end
if entry.state ~= 'in_flight' or entry.owner ~= owner then
  return 0
end
entry.lease_until, entry.expires = ends(lease_ms), ends(ttl_ms)
keep(entry, '', ttl_ms, tombstone_ms)
return 1
