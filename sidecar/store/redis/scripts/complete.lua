-- complete: record what came of the attempt.
--
-- KEYS[1]  the entry; all further keys are the pieces of the record's body, where it is large
-- ARGV     1 owner · 2 attempt · 3 ttl in ms · 4 tombstone in ms · 5 serialised record
--          · 6 how long the pieces are to live in ms (left out where there are none)
-- Returns  1, or 0: a newer attempt owns the id, or this one was released; or -1: a piece is not there
--
-- Races. The owner token decides, not the lease: an owner that was slow but not replaced knows how its
-- exchange ended, and its record turns an unknown (its own, or a lapsed lease) into an answer. An owner
-- that was replaced finds another token and writes nothing. A record that stands is never written again,
-- not even by its own owner: the repeated call of a lost answer is told 1 and changes nothing. Where the
-- claim was lost the record is written: a lost claim must not become a second execution.
-- A record appears only where each piece of its body is there, and the pieces live on from the same step: none
-- can expire between being seen and being kept. Those of a record that does not appear keep their short life.

local owner, attempt, ttl_ms, tombstone_ms, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local pieces_ms = ARGV[6]
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
if #KEYS > 1 and redis.call('EXISTS', unpack(KEYS, 2)) < #KEYS - 1 then
  return -1
end
for piece = 2, #KEYS do
  redis.call('PEXPIRE', KEYS[piece], pieces_ms)
end
enter('recorded', owner, attempt, { expires = ends(ttl_ms) }, record, ttl_ms, tombstone_ms)
return 1
