--- Ports for brokers that come and go: while one is away, nobody else may be
--- given its port.  So they are not taken from the range that the system gives
--- to outgoing connections and to whoever asks for any, and each program has a
--- block of its own.

local uv = require "luv"

local ports = {}

local FIRST, BLOCK, BLOCKS = 10000, 200, 110 -- below 32768, where the system's begin

local next_one = 0

local function free(port)
  local socket = uv.new_tcp()
  local ok = socket:bind("127.0.0.1", port) and socket:listen(1, function() end)
  socket:close()
  return ok
end

--- A port that nobody listens on.
function ports.take()
  local base = FIRST + math.tointeger(uv.os_getpid()) % BLOCKS * BLOCK
  for _ = 1, BLOCK do
    local port = base + next_one % BLOCK
    next_one = next_one + 1
    if free(port) then return port end
  end
  error("no port is free")
end

return ports
