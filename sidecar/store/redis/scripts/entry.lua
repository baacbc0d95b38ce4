-- The entry of one id, and how a transition reads and writes it. Put in front of every other script here.
--
-- KEYS[1] is a hash:
--   state        in_flight | unknown | recorded | released; an id without a hash is absent
--   owner        token of the newest attempt's owner; the guard of every write
--   attempt      1, 2, ...
--   since        when the state was entered, in milliseconds of server time (for operators)
--   expires      when its ttl ends, in milliseconds of server time; not for released, which is gone by then
--   lease_until  in_flight only: when the lease runs out, in milliseconds of server time
--   fingerprint  in_flight and unknown, where it was noted
--   taken_over   in_flight and unknown: 1 from the first takeover on, since an earlier attempt may have executed
--   reason       unknown only
--   record       recorded only: the serialised record, until a claim finds its ttl over
--
-- The hash itself goes when its tombstone does: `expires` is past while only the tombstone keeps it.
--
-- A script runs alone on its server, so what it read is still true when it writes. Time is the server's:
-- sidecars whose clocks disagree still agree on when a lease ran out. After a failover it is another
-- server's; a lease may then end early or late by the difference of their clocks. That is safe either way:
-- a lapsed lease is read as unknown, and under `retry` the owner token shuts the earlier owner out.

local STATES = { in_flight = true, unknown = true, recorded = true, released = true }

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function corrupt(what)
  error(redis.error_reply('CORRUPT ' .. what))
end

-- The entry as a table, `state` being 'absent' where there is none; damage is an error, never a guess.
local function read(...)
  local names = { 'state', 'owner', 'attempt', ... }
  local values = redis.call('HMGET', KEYS[1], unpack(names))
  local entry = {}
  for position, name in ipairs(names) do
    entry[name] = values[position]
  end
  if not entry.state and redis.call('EXISTS', KEYS[1]) == 0 then
    return { state = 'absent', attempt = 0 }
  end
  if not STATES[entry.state] then
    corrupt('the entry is in no state known here')
  end
  entry.attempt = tonumber(entry.attempt)
  if not entry.attempt or not entry.owner then
    corrupt('the entry has no owner or no attempt')
  end
  return entry
end

local function whole(number)
  return string.format('%.0f', number)
end

-- When a ttl that begins now ends.
local function expires(ttl_ms)
  return whole(now_ms() + tonumber(ttl_ms))
end

local function keep_for(ttl_ms, tombstone_ms)
  redis.call('PEXPIRE', KEYS[1], whole(tonumber(ttl_ms) + tonumber(tombstone_ms)))
end

-- Enter `state`: what is in `fields` and what identifies the attempt remains, everything else goes.
-- The HSET comes first, because it is the command that a server out of memory refuses: after any other
-- write of the same script it no longer would, and it would grow past its limit.
-- Whoever waits for the id to leave in_flight is told on the channel of its name with `:settled` behind it
-- (under the same prefix, so `&prefix:*` is the only channel right an ACL has to give). The message leaves
-- with the write, in one atomic step. Where it cannot be sent (`pcall`: no right to the channel) the
-- transition stands all the same, for the write is done; the waiting side asks again by itself.
local function enter(state, owner, attempt, fields, ttl_ms, tombstone_ms)
  local kept = { 'state', state, 'owner', owner, 'attempt', whole(attempt), 'since', whole(now_ms()) }
  local gone = {}
  for _, name in ipairs({ 'expires', 'lease_until', 'fingerprint', 'taken_over', 'reason', 'record' }) do
    if fields[name] then
      kept[#kept + 1] = name
      kept[#kept + 1] = fields[name]
    else
      gone[#gone + 1] = name
    end
  end
  redis.call('HSET', KEYS[1], unpack(kept))
  redis.call('HDEL', KEYS[1], unpack(gone))
  keep_for(ttl_ms, tombstone_ms)
  if state ~= 'in_flight' then
    redis.pcall('PUBLISH', KEYS[1] .. ':settled', state)
  end
end
