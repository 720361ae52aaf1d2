--- `iotops standin statestore`: a state store for any MQTT v5 broker, for trying
--- programs without a cluster.

local iotops = require "iotops"
local core = require "iotops.core"
local engine = require "standin.statestore.engine"
local journal = require "standin.statestore.journal"
local options = require "standin.options"

local UUID = "FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8"
local REQUESTS = "statestore/v1/" .. UUID .. "/command/invoke"
local NOTIFICATIONS = "clients/statestore/v1/" .. UUID
local NO_SUBSCRIBER = 0x10 -- reason code of a PUBACK
local NOTIFICATION_EXPIRY = 30 -- seconds

local given = options.read("statestore", [[
iotops standin statestore -- a state store for trying programs without a cluster

usage: iotops standin statestore [OPTION...]

Speaks the protocol of the state store of Azure IoT Operations on the broker that
the AIO_* environment variables name, else on that of a running `iotops dev`.
Programs that use the C#, Go, Rust or Lua SDK cannot tell the difference, but for
key notifications of the C# SDK, which need the real broker.

]], {
  { "state-file", "FILE", "keep entries that ask for it (persist) here" },
  { "fsync", "WHEN", "when the disk must have them: always, 1s (default), never;\n"
    .. "a killed process loses nothing either way, a power cut may" },
  { "page-size", "N", "keys in one answer to SCAN (100)", "integer" },
  { "page-bytes", "N", "and at most so many bytes of keys (262144)", "integer" },
  { "max-keys", "N", "refuse more keys: \"the quota has been exceeded\" (no limit)",
    "integer" },
}, "  iotops standin statestore --state-file store.journal\n")

local fsync = given.fsync or "1s"
if fsync ~= "always" and fsync ~= "1s" and fsync ~= "never" then
  options.fail("statestore", ("--fsync takes always, 1s or never, not %q"):format(fsync))
end

-- ---------------------------------------------------------------- store --

local store = engine.new {
  page_size = given["page-size"], page_bytes = given["page-bytes"],
  max_keys = given["max-keys"],
}

local kept
if given["state-file"] then
  local records, versions
  kept, records, versions = journal.open(given["state-file"], fsync, function()
    return store:persistent()
  end)
  if not kept then
    options.fail("statestore", records --[[@as string]])
  end
  store:restore(kept, records --[[@as table]], versions)
  local ok, why = kept:begin()
  if not ok then
    options.fail("statestore", why --[[@as string]])
  end
end

-- Started again it serves no requests that were meant for its predecessor:
-- whoever sent them does not know whether they were applied, and must not be
-- told twice.
iotops.configure {
  clean_start = true,
  client_id = os.getenv "AIO_MQTT_CLIENT_ID" or "iotops-statestore",
}
local session = assert(iotops.session())

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

-- Hands the notifications to the session in their order, then looks who is gone.
local function notify(changes)
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

local timer, timer_due

local function watch_expiry()
  local due = store:next_expiry()
  if due == timer_due then
    return
  elseif timer then
    timer:cancel()
  end
  timer, timer_due = nil, due
  if due then
    timer = iotops.after(math.max(0, due - core.clock.monotonic()) / 1000, function()
      timer, timer_due = nil, nil
      local changes = store:expire()
      watch_expiry()
      notify(changes)
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

local executor = assert(session:executor {
  command_name = "invoke",
  request_topic_pattern = REQUESTS,
  serializer = iotops.raw,
  raw_timestamp = true,
  handler = function(payload, request)
    if not may_answer(request) then
      request:drop()
      return
    end
    local properties = request.user_data
    local client = request.invoker_id or properties["$partition"]
    local answer, version, changes = store:apply {
      payload = payload or "",
      client = client ~= "" and client or nil,
      timestamp = request.timestamp_text,
      fence = properties.__ft,
      persist = properties["aio-persistence"] == "true",
    }
    -- The answer goes first, then the notifications, before the next request.
    request:respond(answer, { timestamp = version })
    watch_expiry()
    if #changes > 0 then
      notify(changes)
    end
  end,
})

iotops.spawn(function()
  local ok, err = executor:start()
  if not ok then
    options.fail("statestore", tostring(err), 1)
  end
  print "statestore: ready"
  io.stdout:flush()
end)

watch_expiry()
if kept then
  iotops.every(1, function()
    local ok, why = kept:tick()
    if ok then
      ok, why = kept:tidy()
    end
    if not ok then
      iotops.log.error("the state file cannot be written: " .. tostring(why))
    end
  end)
end

iotops.run()
if kept then
  kept:close()
end
