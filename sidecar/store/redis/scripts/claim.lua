-- claim: take the id for an owner, or say why not.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 lease in ms · 3 ttl in ms · 4 tombstone in ms
--          · 5 policy for an unknown outcome: hold | retry
-- Returns  {'claimed', attempt, fingerprint or nil, 1 if taken over, else 0, when its ttl ends} · {'in_flight', ms of lease left}
--          {'recorded', the key's value, at which of its bytes the record begins, when its ttl ends} · {'unknown', attempt, reason} · {'expired'}
--
-- Races. Of any number of claims for an absent id the server runs one first; the others find its entry.
-- A claim repeated by the same owner (its answer was lost on the way) finds itself and gets the same
-- answer, so a time-out never costs the key. A takeover writes a new owner token: from that moment every
-- write of the earlier owner fails, however late it arrives. Without `retry` a lapsed lease changes
-- nothing here: the earlier owner may be slow rather than gone, and may still complete. Nor with `retry`
-- where nothing is there to compare with and the earlier attempt did not say that it would note it in time:
-- it was claimed under another policy, or put back after it was lost. The first claim after the ttl drops
-- the record's bytes, which nobody is given any more; the state stays, so every write still answers as it
-- did before.

local owner, lease_ms, ttl_ms, tombstone_ms, policy = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local entry, value, record_at = read()

local function take(attempt, fingerprint, taken_over)
  local fields = {
    lease_until = ends(lease_ms),
    expires = ends(ttl_ms),
    fingerprint = fingerprint,
    taken_over = taken_over,
    notes = policy == 'retry' or nil,
  }
  enter('in_flight', owner, attempt, fields, '', ttl_ms, tombstone_ms)
  return { 'claimed', attempt, fingerprint or false, taken_over and 1 or 0, fields.expires }
end

if entry.state == 'absent' or entry.state == 'released' then
  return take(entry.attempt + 1, nil, nil)
end

if entry.state == 'in_flight' then
  if type(entry.lease_until) ~= 'number' then
    corrupt('the entry is in flight and has no lease')
  end
  if entry.lease_until > now then
    if entry.owner == owner then
      return take(entry.attempt, entry.fingerprint, entry.taken_over)
    end
    return { 'in_flight', entry.lease_until - now }
  end
end

if type(entry.expires) ~= 'number' then
  corrupt('the entry has no end of its ttl')
end
if entry.expires <= now then
  if record_at ~= -1 then
    -- `pcall`: a server that is out of memory refuses even this write, and the answer is the same without it.
    redis.pcall('SET', KEYS[1], cmsgpack.pack(entry), 'KEEPTTL')
  end
  return { 'expired' }
end

if entry.state == 'recorded' then
  if record_at == -1 then
    corrupt('the entry is recorded and has no record')
  end
  return { 'recorded', value, record_at, entry.expires }
end

if policy == 'retry' and (entry.fingerprint or entry.notes) then
  return take(entry.attempt + 1, entry.fingerprint, true)
end
return { 'unknown', entry.attempt, entry.state == 'in_flight' and 'lease-expired' or entry.reason }
