--- A real mosquitto that a test may stop, kill, freeze and start again at the
--- same port.  It saves its store when it is stopped, not when it is killed.

local ports = require "ports"
local process = require "process"
local uv = require "luv"

local mosquitto = {}

---@class Mosquitto
---@field port integer
---@field log string path
---@field up_at number ms when it last began to accept connections
local Mosquitto = {}
Mosquitto.__index = Mosquitto

local function program()
  for _, path in ipairs { "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto" } do
    if uv.fs_access(path, "X") then return path end
  end
  return "mosquitto"
end

-- Asks until a connection is accepted.
local function accepts(t, port)
  local answer
  t:await("mosquitto accepts connections", function()
    if answer then return true end
    if answer == nil then
      local socket = uv.new_tcp()
      answer = false
      socket:connect("127.0.0.1", port, function(err)
        if err then answer = nil else answer = true end
        socket:close()
      end)
    end
  end, 10)
end

--- Starts it, the first time or again.
function Mosquitto:start()
  self.process = process.start { program(), "-c", self.folder .. "/mosquitto.conf" }
  accepts(self.t, self.port)
  self.up_at = uv.hrtime() / 1e6
end

function Mosquitto:ended()
  return self.process.code ~= nil
end

--- Stops it and waits: it saves its store.
function Mosquitto:stop()
  self.process:signal_with("sigterm")
  self.t:await("mosquitto ends", function() return self:ended() end, 10)
end

--- Kills it and waits: what it had in memory is gone.
function Mosquitto:kill()
  self.process:signal_with("sigkill")
  self.t:await("mosquitto dies", function() return self:ended() end, 10)
end

function Mosquitto:freeze() self.process:signal_with("sigstop") end
function Mosquitto:thaw() self.process:signal_with("sigcont") end

--- The lines of its log that match.
function Mosquitto:logged(pattern)
  local lines = {}
  local file = io.open(self.log)
  for line in file and file:lines() or function() end do
    if line:find(pattern) then lines[#lines + 1] = line end
  end
  if file then file:close() end
  return lines
end

--- User names of the clients that connected, in order.
function Mosquitto:users()
  local users = {}
  for _, line in ipairs(self:logged("New client connected")) do
    users[#users + 1] = line:match("u'([^']*)'") or "-"
  end
  return table.concat(users, " ")
end

---@param t Trial
---@param lines? string[] added to its configuration
---@return Mosquitto
function mosquitto.new(t, lines)
  local self = setmetatable({ t = t, folder = t:folder(), port = ports.take() }, Mosquitto)
  self.log = self.folder .. "/mosquitto.log"
  local file = assert(io.open(self.folder .. "/mosquitto.conf", "w"))
  file:write(([[
listener %d 127.0.0.1
allow_anonymous true
persistence true
persistence_location %s/
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_dest file %s
log_type all
]]):format(self.port, self.folder, self.log))
  if uv.getuid() == 0 then file:write("user root\n") end
  for _, line in ipairs(lines or {}) do file:write(line, "\n") end
  file:close()
  t:at_end(function() self.process:kill() end)
  self:start()
  return self
end

return mosquitto
