-- The worst case for a server that remembers headers: one of them differs on every request.

local common = require("common")
local middle = " HTTP/1.1\r\n" .. common.headers .. "X-Request-Id: "

function request()
   local number = common.next()
   return "GET /user/" .. number .. middle .. number .. "\r\n\r\n"
end
