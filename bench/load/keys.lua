-- The script of wrk: what every request is, and the figures of the whole as one line of JSON.
-- Arguments: "unique" PREFIX | "fixed" KEY | "none" -, then the file of the body, "-" where there is none.
-- The path is the URL's. A unique key is PREFIX, the thread's number and a counter; the request is written out
-- once, and only the key's place in it is filled anew for each.

local threads = 0
local PLACE = "KEY-GOES-HERE"

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local function read(path)
  if path == "-" then return nil end
  local file = assert(io.open(path, "rb"))
  local body = file:read("*a")
  file:close()
  return body
end

function init(args)
  local kind, key, body = args[1], args[2], read(args[3])
  local headers = { ["Content-Type"] = "application/json", ["Content-Length"] = body and #body or 0 }
  if kind == "none" then
    whole = wrk.format("POST", nil, headers, body)
  else
    headers["Idempotency-Key"] = kind == "fixed" and key or PLACE
    whole = wrk.format("POST", nil, headers, body)
    if kind == "unique" then
      local from, to = whole:find(PLACE, 1, true)
      before, after = whole:sub(1, from - 1) .. key .. "-" .. number .. "-", whole:sub(to + 1)
      count = 0
    end
  end
end

function request()
  if count then
    count = count + 1
    return before .. count .. after
  end
  return whole
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"status_errors":%d,"lost":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
