--- The checks after the last action.

local failure = require "metl.failure"
local instant = require "metl.instant"
local null = require "metl.null"
local packets = require "metl.packets"
local stub = require "metl.stub"
local user_data = require "metl.user_data"

local get, given = null.get, null.given
local equal = failure.unless_equal

local checks = {}

checks["subscribed-topics"] = function(_, filters)
  for _, filter in ipairs(filters) do
    equal("subscribed-topics: " .. filter, true, stub.subscribed(filter))
  end
end

checks["publication-count"] = function(_, count)
  equal("publication-count", count, stub.publish_count())
end

checks["acknowledgement-count"] = function(_, count)
  equal("acknowledgement-count", count, stub.ack_count())
end

checks["execution-count"] = function(world, count)
  equal("execution-count", count, world.envoys[1].handled)
end

local function of_each(name)
  return function(world, counts)
    for index, count in pairs(counts) do
      local envoy = world.envoys[math.tointeger(tonumber(index)) + 1]
      equal(name .. " " .. index, count, envoy and envoy.handled)
    end
  end
end

-- `catch` is about stopping; see prologue.lua.
checks["catch"] = function() end

checks["execution-counts"] = of_each("execution-counts")
checks["telemetry-counts"] = of_each("telemetry-counts")

checks["telemetry-count"] = function(world, count)
  equal("telemetry-count", count, world.envoys[1].handled)
end

-- -------------------------------------------------- published-messages --

-- Keys of an entry that equal a field of the message.
local fields = {
  ["topic"] = "topic",
  ["content-type"] = "content_type",
  ["format-indicator"] = "format_indicator",
  ["expiry"] = "expiry",
}

local function check_published(where, entry, message)
  for key, field in pairs(fields) do
    if given(entry, key) then
      equal(where .. key, entry[key], message[field])
    end
  end
  if given(entry, "payload") then
    equal(where .. "payload", get(entry, "payload") or "", message.payload)
  end
  for name, value in pairs(get(entry, "metadata") or {}) do
    equal(where .. "metadata " .. name, value, packets.property(message, name))
  end
  if given(entry, "command-status") then
    local status = packets.property(message, "__stat")
    equal(where .. "command-status", entry["command-status"],
      status and (math.tointeger(tonumber(status)) or status))
  end
  if given(entry, "is-application-error") then
    local mark = packets.property(message, "__apErr")
    if get(entry, "is-application-error") then
      equal(where .. "is-application-error", "true", mark)
    else
      equal(where .. "is-application-error", "false", mark or "false")
    end
  end
  if given(entry, "source-id") then
    equal(where .. "source-id", entry["source-id"],
      packets.property(message, "__srcId"))
  end
end

checks["published-messages"] = function(world, entries)
  if #entries == 0 then
    equal("published-messages", 0, stub.publish_count())
  end
  for i, entry in ipairs(entries) do
    local where = string.format("published-messages[%d] ", i - 1)
    local message
    if world.case.suite == "TelemetrySender" then
      message = packets.nth(i)
    elseif given(entry, "correlation-index") then
      local index = get(entry, "correlation-index")
      message = packets.by_correlation(index and world:correlation(index))
    else
      message = packets.nth(i)
    end
    equal(where .. "was published", true, message ~= nil)
    check_published(where, entry, message)
  end
end

-- ------------------------------------------------ received-telemetries --

local event_fields = {
  ["source"] = "source",
  ["type"] = "type",
  ["spec-version"] = "spec_version",
  ["id"] = "id",
  ["data-content-type"] = "data_content_type",
  ["subject"] = "subject",
  ["data-schema"] = "data_schema",
  ["time"] = "time",
}

local function check_cloud_event(where, expected, received)
  local event = received.cloud_event
  equal(where .. "is there", expected ~= null.value, event ~= nil)
  if event then
    for key, value in pairs(expected) do
      local seen = event[event_fields[key]]
      if key == "time" and value ~= null.value and seen then
        equal(where .. "time as an instant", instant.parse(value),
          instant.parse(seen) or seen)
      else
        equal(where .. key, value, seen)
      end
    end
  end
end

checks["received-telemetries"] = function(world, entries)
  if #entries == 0 then
    equal("received-telemetries", 0, #world.telemetries)
  end
  for i, entry in ipairs(entries) do
    local where = string.format("received-telemetries[%d] ", i - 1)
    local received = world.telemetries[i]
    equal(where .. "was received", true, received ~= nil)
    if given(entry, "telemetry-value") then
      equal(where .. "telemetry-value", get(entry, "telemetry-value") or "",
        received.value or "")
    end
    for name, value in pairs(get(entry, "metadata") or {}) do
      equal(where .. "metadata " .. name, value,
        user_data.get(received.user_data, name))
    end
    for name, value in pairs(get(entry, "topic-tokens") or {}) do
      equal(where .. "topic token " .. name, value, received.tokens[name])
    end
    if given(entry, "source-index") then
      local index = get(entry, "source-index")
      equal(where .. "source-index", index and world:source(index),
        received.sender_id)
    end
    if given(entry, "cloud-event") then
      check_cloud_event(where .. "cloud-event ", entry["cloud-event"],
        received)
    end
  end
end

-- What null means: there was none.
local nothing = {
  ["publication-count"] = 0,
  ["acknowledgement-count"] = 0,
  ["execution-count"] = 0,
  ["telemetry-count"] = 0,
  ["published-messages"] = {},
  ["received-telemetries"] = {},
}

local epilogue = {}

--- Every check of the epilogue but `catch`, which is about stopping.
---@param world metl.world
function epilogue.check(world)
  local expected = world.case.epilogue
  local names = {}
  for name in pairs(expected) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = expected[name]
    if value == null.value then
      value = nothing[name]
    end
    if value ~= nil then
      checks[name](world, value)
    end
  end
end

return epilogue
