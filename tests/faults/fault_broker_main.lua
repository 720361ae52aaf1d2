--- The fault broker as a program, for tests that kill it:
--- fault_broker_main.lua JOURNAL PORT.

package.path = "tests/faults/?.lua;" .. package.path
local fault_broker = require "fault_broker"
local uv = require "luv"

math.randomseed(os.time())
local broker = fault_broker.new { journal = arg[1], port = math.tointeger(arg[2]) }
-- What passed is of no interest here, and is much.
broker.hook = function(connection)
  broker.packets, connection.packets = {}, {}
  if broker.disorder > 0 then
    print("disorder " .. broker.disorder)
    broker.disorder = 0
  end
end
print("port " .. broker.port)
io.stdout:flush()
uv.run()
