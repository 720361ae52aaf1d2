--- Private brokers for tests, started by the product's own `iotops dev`, which
--- writes their configuration.

local certificates = require "certificates"
local process = require "process"
local uv = require "luv"

local broker = {}

---@class broker.Broker
---@field port integer
---@field tls_port integer? of its listener with TLS
---@field ca string? path of the authority that signed its certificate
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
---@field tls boolean? a second listener, with TLS

local function free_port()
  local socket = uv.new_tcp()
  assert(socket:bind("127.0.0.1", 0))
  local port = socket:getsockname().port
  socket:close()
  uv.run("nowait")
  return port
end

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
  local tls_port, made
  if options.tls then
    tls_port, made = free_port(), certificates.make(process.folder())
    add("--broker-line", ("listener %d 127.0.0.1"):format(tls_port))
    add("--broker-line", "certfile " .. made.cert)
    add("--broker-line", "keyfile " .. made.key)
  end
  local running = process.start(command)
  local _, port, log = running:line("port (%d+), log (%S+)")
  return setmetatable({
    port = tonumber(port), tls_port = tls_port, ca = made and made.ca, log = log,
    process = running,
  }, Broker)
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

--- The same for its listener with TLS.
---@param client_id string
---@return table<string, string>
function Broker:tls_environment(client_id)
  return {
    AIO_BROKER_HOSTNAME = "localhost",
    AIO_BROKER_TCP_PORT = tostring(self.tls_port),
    AIO_MQTT_USE_TLS = "true",
    AIO_MQTT_CLIENT_ID = client_id,
    AIO_TLS_CA_FILE = self.ca,
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
