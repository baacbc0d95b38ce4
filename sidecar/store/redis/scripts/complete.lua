-- complete: record what came of the attempt.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 attempt · 3 ttl in ms · 4 tombstone in ms · 5 serialised record
-- Returns  1, or 0: a newer attempt owns the id, or this one was released
--
-- Races. The owner token decides, not the lease: an owner that was slow but not replaced knows how its
-- exchange ended, and its record turns an unknown (its own, or a lapsed lease) into an answer. An owner
-- that was replaced finds another token and writes nothing. A record that stands is never written again,
-- not even by its own owner: the repeated call of a lost answer is told 1 and changes nothing. Where the
-- claim was lost the record is written: a lost claim must not become a second execution.

local owner, attempt, ttl_ms, tombstone_ms, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local entry = read()

if entry.state ~= 'absent' then
  if entry.owner ~= owner or entry.state == 'released' then
    return 0
  end
  if entry.state == 'recorded' then
    return 1
  end
  attempt = entry.attempt
end
enter('recorded', owner, attempt, { expires = ends(ttl_ms) }, record, ttl_ms, tombstone_ms)
return 1
