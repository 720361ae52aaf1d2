--- Private brokers for tests, started by the product's own `iotops dev`, which
--- writes their configuration.

local process = require "process"

local broker = {}

---@class broker.Broker
---@field port integer
---@field log string path of its log
---@field process process.Process
local Broker = {}
Broker.__index = Broker

---@class broker.Options
---@field nagle boolean? without TCP_NODELAY, as mosquitto is by default
---@field log_all boolean? log every packet
---@field port integer? a free one unless given
---@field folder string? what it stores is kept here
---@field lines string[]? added to its configuration

--- Starts a broker.
---@param options? broker.Options
---@return broker.Broker
function broker.start(options)
  options = options or {}
  local command = { (os.getenv("BUILD") or "build") .. "/iotops", "dev",
    "--broker-only", "--private" }
  local function add(...) table.move({ ... }, 1, select("#", ...), #command + 1, command) end
  if options.nagle then add("--nagle") end
  if options.log_all then add("--broker-log-type", "all") end
  if options.port then add("--port", tostring(options.port)) end
  if options.folder then add("--folder", options.folder) end
  for _, line in ipairs(options.lines or {}) do add("--broker-line", line) end
  local running = process.start(command)
  local _, port, log = running:line("port (%d+), log (%S+)")
  return setmetatable({ port = tonumber(port), log = log, process = running }, Broker)
end

--- What a program needs in its environment to find it.
---@param client_id string
---@return table<string, string>
function Broker:environment(client_id)
  return {
    AIO_BROKER_HOSTNAME = "127.0.0.1",
    AIO_BROKER_TCP_PORT = tostring(self.port),
    AIO_MQTT_USE_TLS = "false",
    AIO_MQTT_CLIENT_ID = client_id,
  }
end

--- The lines of its log so far.
function Broker:lines()
  local lines = {}
  for line in io.lines(self.log) do lines[#lines + 1] = line end
  return lines
end

function Broker:stop()
  self.process:signal_with("sigterm")
  self.process:wait(10)
end

return broker
