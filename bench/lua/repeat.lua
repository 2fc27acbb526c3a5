-- A keep-alive client that walks through a site: the path differs each time, the headers repeat.

local common = require("common")
local tail = " HTTP/1.1\r\n" .. common.headers .. "\r\n"

function request()
   return "GET /user/" .. common.next() .. tail
end
