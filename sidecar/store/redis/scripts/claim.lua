-- claim: take the id for an owner, or say why not.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 lease in ms · 3 ttl in ms · 4 tombstone in ms
--          · 5 policy for an unknown outcome: hold | retry
-- Returns  {'claimed', attempt, fingerprint or nil, 1 if taken over, else 0} · {'in_flight', ms of lease left}
--          {'recorded', record} · {'unknown', attempt, reason} · {'expired'}
--
-- Races. Of any number of claims for an absent id the server runs one first; the others find its entry.
-- A claim repeated by the same owner (its answer was lost on the way) finds itself and gets the same
-- answer, so a time-out never costs the key. A takeover writes a new owner token: from that moment every
-- write of the earlier owner fails, however late it arrives. Without `retry` a lapsed lease changes
-- nothing here: the earlier owner may be slow rather than gone, and may still complete. The first claim
-- after the ttl drops the record's bytes, which nobody is given any more; the state stays, so every write
-- still answers as it did before.

local owner, lease_ms, ttl_ms, tombstone_ms, policy = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local entry = read('lease_until', 'fingerprint', 'reason', 'record', 'expires', 'taken_over')
local now = now_ms()

local function take(attempt, fingerprint, taken_over)
  local fields = {
    lease_until = whole(now + lease_ms),
    expires = expires(ttl_ms),
    fingerprint = fingerprint,
    taken_over = taken_over,
  }
  enter('in_flight', owner, attempt, fields, ttl_ms, tombstone_ms)
  return { 'claimed', attempt, fingerprint, taken_over and 1 or 0 }
end

if entry.state == 'absent' or entry.state == 'released' then
  return take(entry.attempt + 1, false, false)
end

if entry.state == 'in_flight' then
  local lease_until = tonumber(entry.lease_until)
  if not lease_until then
    corrupt('the entry is in flight and has no lease')
  end
  if lease_until > now then
    if entry.owner == owner then
      return take(entry.attempt, entry.fingerprint, entry.taken_over)
    end
    return { 'in_flight', lease_until - now }
  end
end

local expired_at = tonumber(entry.expires)
if not expired_at then
  corrupt('the entry has no end of its ttl')
end
if expired_at <= now then
  if entry.record then
    redis.call('HDEL', KEYS[1], 'record')
  end
  return { 'expired' }
end

if entry.state == 'recorded' then
  if not entry.record then
    corrupt('the entry is recorded and has no record')
  end
  return { 'recorded', entry.record }
end

if policy == 'retry' then
  return take(entry.attempt + 1, entry.fingerprint, '1')
end
return { 'unknown', entry.attempt, entry.state == 'in_flight' and 'lease-expired' or entry.reason }
