--- A private broker for a test.
local process = require "process"
local uv = require "luv"

local broker = {}

local function free_port()
  local socket = uv.new_tcp()
  assert(socket:bind("127.0.0.1", 0))
  local port = socket:getsockname().port
  socket:close()
  uv.run("nowait")
  return port
end

--- Starts a broker.
---@param options? {nagle: boolean?}
---@return {port: integer, log: string, stop: fun(self)}
function broker.start(options)
  options = options or {}
  local folder, port = process.folder(), free_port()
  local file = assert(io.open(folder .. "/conf", "w"))
  file:write(([[
listener %d 127.0.0.1
allow_anonymous true
persistence true
persistence_location %s/
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay %s
user root
log_type all
]]):format(port, folder, tostring(not options.nagle)))
  file:close()
  local running = process.start { "/usr/sbin/mosquitto", "-c", folder .. "/conf" }
  running:line("running")
  return { port = port, log = folder .. "/log", process = running,
    stop = function(self) self.process:kill() end }
end

return broker
