-- Sends the request in the file that is its second argument, byte for byte; {n} in it is a new
-- number each time. They begin with the first argument.
local count

local function read(path)
   local file = assert(io.open(path, "rb"))
   local text = file:read("*a")
   file:close()
   return text
end

function init(args)
   count = tonumber(args[1])
   local text = read(args[2])
   local parts = {}
   for part in (text .. "{n}"):gmatch("(.-){n}") do
      parts[#parts + 1] = part
   end
   if #parts == 1 then
      -- Without a function `request`, wrk sends what it formatted once.
      wrk.format = function() return text end
   else
      function request()
         count = count + 1
         return table.concat(parts, count)
      end
   end
end

local PERCENTILES = {25, 50, 75, 90, 95, 99, 99.9}

function done(summary, latency)
   local errors, percentiles = summary.errors, {}
   for i, percent in ipairs(PERCENTILES) do
      percentiles[i] = string.format('"%g":%d', percent, latency:percentile(percent))
   end
   io.write(string.format('{"requests":%d,"bytes":%.0f,"microseconds":%d,"latency":{%s},"errors":'
      .. '{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
      summary.requests, summary.bytes, summary.duration, table.concat(percentiles, ","),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
