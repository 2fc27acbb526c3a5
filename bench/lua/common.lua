-- What both loads share: the headers of a browser, and the one line of JSON that load.py reads.

local M = {}

-- Later runs ask for other paths, so that no server can answer from what it saw in the warm-up.
local count = (os.time() % 1000000) * 1000000

function M.next()
   count = count + 1
   return count
end

-- The request is a few strings joined by hand: wrk.format() would make the client the bottleneck.
M.headers = table.concat({
   "Host: " .. wrk.host .. ":" .. wrk.port,
   "Connection: keep-alive",
   "Upgrade-Insecure-Requests: 1",
   "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
   "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
   "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
   "Accept-Encoding: gzip, deflate, br",
   "Referer: http://" .. wrk.host .. ":" .. wrk.port .. "/start",
   "Cookie: session=eyJ1c2VyIjoiYWRhIn0.ZtBq3w.Qm9ndXNTaWduYXR1cmU; theme=dark",
}, "\r\n") .. "\r\n"

local LINE = '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"errors":'
   .. '{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n'

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(LINE, summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end

return M
