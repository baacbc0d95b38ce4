-- note_fingerprint: keep the request's fingerprint with the attempt in flight.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 attempt · 3 lease in ms · 4 ttl in ms · 5 tombstone in ms · 6 fingerprint
-- Returns  1, or 0: not this owner's any more, or settled
--
-- Races. As for renew, but the lease stays what it was: whoever takes over after it lapsed finds the
-- fingerprint, which is what it is noted for. Where the claim was lost, claim and lease are put back.

local owner, lease_ms, ttl_ms, tombstone_ms, fingerprint = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local entry = read()

if entry.state == 'absent' then
  local fields = {
    lease_until = ends(lease_ms),
    expires = ends(ttl_ms),
    fingerprint = fingerprint,
  }
  enter('in_flight', owner, ARGV[2], fields, '', ttl_ms, tombstone_ms)
  return 1
end
if entry.state ~= 'in_flight' or entry.owner ~= owner then
  return 0
end
entry.fingerprint, entry.expires = fingerprint, ends(ttl_ms)
keep(entry, '', ttl_ms, tombstone_ms)
return 1
