-- mark_unknown: say that nobody knows whether the attempt executed.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 attempt · 3 ttl in ms · 4 tombstone in ms · 5 reason
--          · 6 fingerprint (left out where it is not known)
-- Returns  1, or 0: not this owner's, or settled otherwise
--
-- Races. Owner in flight only, its lease run out or not: a takeover has another token, and a record or a
-- release is a better answer than this one. The token stays, so that the same owner may still complete.
-- A repeated call finds its own mark and changes nothing. Where the claim was lost the mark is written:
-- the attempt may have executed, and an id that looks free would let it execute again.

local owner, attempt, ttl_ms, tombstone_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local reason, fingerprint = ARGV[5], ARGV[6]
local entry = read()

if entry.state ~= 'absent' then
  if entry.owner ~= owner then
    return 0
  end
  if entry.state ~= 'in_flight' then
    return entry.state == 'unknown' and 1 or 0
  end
  attempt = entry.attempt
  fingerprint = fingerprint or entry.fingerprint
end
local fields = {
  reason = reason,
  expires = ends(ttl_ms),
  fingerprint = fingerprint,
  notes = entry.notes,
  taken_over = entry.taken_over,
}
enter('unknown', owner, attempt, fields, '', ttl_ms, tombstone_ms)
return 1
