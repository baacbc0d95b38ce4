-- The entry of one id, and how a transition reads and writes it. Put in front of every other script here.
--
-- KEYS[1] is a string: a MessagePack map, and behind it, in `recorded` alone, the serialised record. The map:
--   state        in_flight | unknown | recorded | released; an id without a key is absent
--   owner        token of the newest attempt's owner; the guard of every write
--   attempt      1, 2, ...
--   since        when the state was entered, in milliseconds of server time (for operators)
--   expires      when its ttl ends, in milliseconds of server time; not for released, which is gone by then
--   lease_until  in_flight only: when the lease runs out, in milliseconds of server time
--   fingerprint  in_flight and unknown, where it was noted
--   notes        in_flight and unknown: true where the attempt notes its fingerprint before its request's last byte
--                is forwarded (it was claimed under `retry`); only then does its absence tell that none was
--   taken_over   in_flight and unknown: true from the first takeover on, since an earlier attempt may have executed
--   reason       unknown only
--
-- A string, not a hash: a hash with one field over 64 bytes costs a table and an allocation for each name and
-- value, twice what a small response needs by itself. And a transition is one GET and one SET.
--
-- The key itself goes when its tombstone does: `expires` is past while only the tombstone keeps it; the record's
-- bytes go when a claim finds its ttl over.
--
-- A script runs alone on its server, so what it read is still true when it writes. Time is the server's:
-- sidecars whose clocks disagree still agree on when a lease ran out. After a failover it is another
-- server's; a lease may then end early or late by the difference of their clocks. That is safe either way:
-- a lapsed lease is read as unknown, and under `retry` the owner token shuts the earlier owner out.

local STATES = { in_flight = true, unknown = true, recorded = true, released = true }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function corrupt(what)
  error(redis.error_reply('CORRUPT ' .. what))
end

-- The entry as a table, `state` being 'absent' where there is none; damage is an error, never a guess.
-- Then the key's whole value, and at which of its bytes (the first being 0) the record begins; -1: there is none.
local function read()
  local value = redis.call('GET', KEYS[1])
  if not value then
    return { state = 'absent', attempt = 0 }
  end
  local parsed, record_at, entry = pcall(cmsgpack.unpack_one, value)
  if not parsed or type(entry) ~= 'table' or not STATES[entry.state] then
    corrupt('the entry is in no state known here')
  end
  if type(entry.attempt) ~= 'number' or type(entry.owner) ~= 'string' then
    corrupt('the entry has no owner or no attempt')
  end
  return entry, value, record_at
end

-- When a ttl, or a lease, of so many milliseconds that begins now ends.
local function ends(ms)
  return now + tonumber(ms)
end

local function keep(entry, record, ttl_ms, tombstone_ms)
  local kept_ms = string.format('%.0f', tonumber(ttl_ms) + tonumber(tombstone_ms))
  redis.call('SET', KEYS[1], cmsgpack.pack(entry) .. record, 'PX', kept_ms)
end

-- Enter `state`: what is in `fields` and what identifies the attempt is kept, everything else goes.
-- Whoever waits for the id to leave in_flight is told on the channel of its name with `:settled` behind it
-- (under the same prefix, so `&prefix:*` is the only channel right an ACL has to give). The message leaves
-- with the write, in one atomic step. Where it cannot be sent (`pcall`: no right to the channel) the
-- transition stands all the same, for the write is done; the waiting side asks again by itself.
local function enter(state, owner, attempt, fields, record, ttl_ms, tombstone_ms)
  fields.state, fields.owner, fields.attempt, fields.since = state, owner, tonumber(attempt), now
  keep(fields, record, ttl_ms, tombstone_ms)
  if state ~= 'in_flight' then
    redis.pcall('PUBLISH', KEYS[1] .. ':settled', state)
  end
end
