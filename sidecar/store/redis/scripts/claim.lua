-- claim: take the id for an owner, or say why not.
--
-- KEYS[1]  the entry
-- ARGV     1 owner · 2 lease in ms · 3 ttl in ms · 4 policy for an unknown outcome: hold | retry
-- Returns  {'claimed', attempt, fingerprint or nil} · {'in_flight', ms of lease left}
--          {'recorded', record} · {'unknown', attempt, reason}
--
-- Races. Of any number of claims for an absent id the server runs one first; the others find its entry.
-- A claim repeated by the same owner (its answer was lost on the way) finds itself and gets the same
-- answer, so a time-out never costs the key. A takeover writes a new owner token: from that moment every
-- write of the earlier owner fails, however late it arrives. Without `retry` a lapsed lease changes
-- nothing here: the earlier owner may be slow rather than gone, and may still complete.

local owner, lease_ms, ttl_ms, policy = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local entry = read('lease_until', 'fingerprint', 'reason', 'record')
local now = now_ms()

local function take(attempt, fingerprint)
  local lease_until = whole(now + lease_ms)
  enter('in_flight', owner, attempt, { lease_until = lease_until, fingerprint = fingerprint }, ttl_ms)
  return { 'claimed', attempt, fingerprint }
end

if entry.state == 'absent' or entry.state == 'released' then
  return take(entry.attempt + 1, false)
end

if entry.state == 'recorded' then
  if not entry.record then
    corrupt('the entry is recorded and has no record')
  end
  return { 'recorded', entry.record }
end

if entry.state == 'in_flight' then
  local lease_until = tonumber(entry.lease_until)
  if not lease_until then
    corrupt('the entry is in flight and has no lease')
  end
  if lease_until > now then
    if entry.owner == owner then
      return take(entry.attempt, entry.fingerprint)
    end
    return { 'in_flight', lease_until - now }
  end
end

if policy == 'retry' then
  return take(entry.attempt + 1, entry.fingerprint)
end
return { 'unknown', entry.attempt, entry.state == 'in_flight' and 'lease-expired' or entry.reason }
