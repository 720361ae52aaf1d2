--- The stand-in for the state store on a broker of a test's own, and requests
--- to it byte by byte.

local broker = require "broker"
local process = require "process"
local iotops = require "iotops"
local uv = require "luv"

local standin = {}

local UUID = "FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8"
standin.requests = "statestore/v1/" .. UUID .. "/command/invoke"
standin.notifications = "clients/statestore/v1/" .. UUID

---@class standin.Place
---@field broker broker.Broker
---@field process process.Process
local Place = {}
Place.__index = Place

--- Starts a broker and a stand-in on it.
---@param arguments? string[] of the stand-in
---@return standin.Place
function standin.place(arguments)
  local self = setmetatable({ broker = broker.start() }, Place)
  self:start(arguments)
  return self
end

--- Starts the stand-in; waits until it serves.
function Place:start(arguments)
  local command = { (os.getenv("BUILD") or "build") .. "/iotops", "standin", "statestore" }
  table.move(arguments or {}, 1, #(arguments or {}), #command + 1, command)
  self.process = process.start(command, { env = self.broker:environment("iotops-statestore") })
  self.process:line("ready")
end

function Place:stop()
  self.process:signal_with("sigterm")
  self.process:wait(10)
end

--- A session of this process.
function Place:session(client_id, options)
  local all = {
    hostname = "127.0.0.1", tcp_port = self.broker.port, use_tls = false,
    client_id = client_id, clean_start = true,
  }
  for name, value in pairs(options or {}) do all[name] = value end
  local session = assert(iotops.session(all))
  assert(session:wait())
  return session
end

--- A way to the broker that can be cut, by `cut()`.
---@return {port: integer, cut: fun(), close: fun()}
function Place:proxy()
  local server, pairs_of = uv.new_tcp(), {}
  assert(server:bind("127.0.0.1", 0))
  local function close(pair)
    for index = 1, 2 do
      if not pair[index]:is_closing() then pair[index]:close() end
    end
    pairs_of[pair] = nil
  end
  server:listen(8, function()
    local pair = { uv.new_tcp(), uv.new_tcp() }
    server:accept(pair[1])
    pairs_of[pair] = true
    pair[2]:connect("127.0.0.1", self.broker.port, function(failed)
      if failed then return close(pair) end
      for index = 1, 2 do
        pair[index]:nodelay(true)
        pair[index]:read_start(function(_, data)
          if not data then return close(pair) end
          pair[3 - index]:write(data)
        end)
      end
    end)
  end)
  local function cut()
    for pair in pairs(pairs_of) do close(pair) end
  end
  return {
    port = server:getsockname().port, cut = cut,
    close = function()
      cut()
      server:close()
    end,
  }
end

--- Something that sends requests as they are: `ask(payload, properties)` gives
--- payload and message of the answer, or nothing within a quarter of a second.
---@return fun(payload: string|any[], properties?: table, changes?: table): string?, table?
function standin.raw(session)
  local waiting = {}
  local count = 0
  local endpoint = assert(session:receiver {
    topic_pattern = "raw/" .. session:client_id() .. "/{number}", serializer = iotops.raw,
    handler = function(payload, message)
      local one = waiting[message.tokens.number]
      if one then
        one.payload, one.message = payload, message
        one.event:set()
      end
    end,
  })
  assert(endpoint:start())
  return function(payload, properties, changes)
    count = count + 1
    local number = tostring(count)
    local one = { event = iotops.event() }
    waiting[number] = one
    local all = { { "__srcId", session:client_id() }, { "__protVer", "1.0" } }
    for name, value in pairs(properties or {}) do
      if name == "__srcId" then table.remove(all, 1) end
      if value then all[#all + 1] = { name, value } end
    end
    local request = {
      topic = standin.requests,
      payload = type(payload) == "table" and iotops.resp3.encode(payload) or payload,
      response_topic = "raw/" .. session:client_id() .. "/" .. number,
      correlation_data = ("%016d"):format(count),
      message_expiry = 10, content_type = "application/octet-stream",
      user_properties = all,
    }
    for name, value in pairs(changes or {}) do request[name] = value or nil end
    assert(session:publish(request))
    one.event:wait(changes and 0.25 or 5)
    waiting[number] = nil
    return one.payload, one.message
  end
end

return standin
