--- The state store on the network: requests in, answers and key notifications
--- out, entries expired at their time.  What a request does is the engine's.

local iotops = require "iotops"
local core = require "iotops.core"

local UUID = "FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8"
local REQUESTS = "statestore/v1/" .. UUID .. "/command/invoke"
local NOTIFICATIONS = "clients/statestore/v1/" .. UUID
local NO_SUBSCRIBER = 0x10 -- reason code of a PUBACK
local NOTIFICATION_EXPIRY = 30 -- seconds

local service = {}

---@class standin.Service
---@field executor iotops.Endpoint to be started
---@field private session iotops.Session
---@field private store standin.Engine
---@field private timer iotops.Timer?
---@field private timer_due integer?
local Service = {}
Service.__index = Service

-- -------------------------------------------------------- notifications --

local function hex(text)
  return (text:gsub(".", function(byte) return ("%02X"):format(byte:byte()) end))
end

local function notification(change)
  if change.value then
    return core.resp3.encode { "NOTIFY", "SET", "VALUE", change.value }
  end
  return core.resp3.encode { "NOTIFY", "DELETE" }
end

--- Hands the notifications to the session in their order, then looks who is gone.
---@param changes standin.Change[]
function Service:notify(changes)
  local session, store = self.session, self.store
  local messages, clients, registered = {}, {}, store:registered()
  for _, change in ipairs(changes) do
    local observers = store:observers_of(change.key)
    local payload = observers and notification(change)
    for client in pairs(observers or {}) do
      messages[#messages + 1] = {
        topic = ("%s/%s/command/notify/%s"):format(NOTIFICATIONS, hex(client), hex(change.key)),
        payload = payload,
        message_expiry = NOTIFICATION_EXPIRY,
        content_type = "application/octet-stream",
        format_indicator = 0,
        user_properties = {
          { "__ts", change.version }, { "__protVer", "1.0" }, { "__srcId", session:client_id() },
        },
      }
      clients[#messages] = client
    end
  end
  if #messages == 0 then
    return
  end
  local reasons, err = session:publish(messages)
  if not reasons then
    iotops.log.warn("notifications were not sent: " .. tostring(err))
    return
  end
  for index, reason in ipairs(reasons) do
    if reason == NO_SUBSCRIBER then
      store:forget(clients[index], registered)
    end
  end
end

-- --------------------------------------------------------------- expiry --

--- Lets entries go at their time; to be called after each change.
function Service:watch_expiry()
  local due = self.store:next_expiry()
  if due == self.timer_due then
    return
  elseif self.timer then
    self.timer:cancel()
  end
  self.timer, self.timer_due = nil, due
  if due then
    self.timer = iotops.after(math.max(0, due - core.clock.monotonic()) / 1000, function()
      self.timer, self.timer_due = nil, nil
      local changes = self.store:expire()
      self:watch_expiry()
      self:notify(changes)
    end)
  end
end

-- ------------------------------------------------------------- requests --

local function may_answer(request)
  local to = request.response_topic
  if not request.packet_id then
    iotops.log.warn "a request with QoS 0 is not answered"
  elseif to == REQUESTS or to:sub(1, #NOTIFICATIONS) == NOTIFICATIONS then
    -- Answering would be a request, or forge a notification.
    iotops.log.warn(("a request with the response topic %s is not answered"):format(to))
  else
    return true
  end
  return false
end

---@private
function Service:answer(payload, request)
  if not may_answer(request) then
    request:drop()
    return
  end
  local properties = request.user_data
  local client = request.invoker_id or properties["$partition"]
  local answer, version, changes = self.store:apply {
    payload = payload or "",
    client = client ~= "" and client or nil,
    timestamp = request.timestamp_text,
    fence = properties.__ft,
    persist = properties["aio-persistence"] == "true",
  }
  -- The answer goes first, then the notifications, before the next request.
  request:respond(answer, { timestamp = version })
  self:watch_expiry()
  if #changes > 0 then
    self:notify(changes)
  end
end

---@param session iotops.Session
---@param store standin.Engine
---@return standin.Service
function service.new(session, store)
  local made = setmetatable({ session = session, store = store }, Service)
  made.executor = assert(session:executor {
    command_name = "invoke",
    request_topic_pattern = REQUESTS,
    serializer = iotops.raw,
    raw_timestamp = true,
    handler = function(payload, request) made:answer(payload, request) end,
  })
  return made
end

return service
