--- The keys that a case may have, and what they may hold.
---
--- A key that is not here is an error: it would be a check that nobody makes.

local duration = require "metl.duration"
local null = require "metl.null"

local schema = {}

-- A rule is a function of a value and the path to it, which raises.

local function complain(path, format, ...)
  error(string.format("%s: " .. format, path, ...), 0)
end

local function of_type(wanted)
  return function(value, path)
    local seen = math.type(value) or type(value)
    if seen ~= wanted then
      complain(path, "%s expected, %s found", wanted, seen)
    end
  end
end

local text, whole, flag = of_type("string"), of_type("integer"),
  of_type("boolean")

local function one_of(...)
  local names = {}
  for _, name in ipairs({ ... }) do
    names[name] = true
  end
  return function(value, path)
    if not names[value] then
      complain(path, "%q is not known", tostring(value))
    end
  end
end

-- Keys that may be null take a rule made by `optional`.
local function optional(rule)
  return function(value, path)
    if value ~= null.value then
      rule(value, path)
    end
  end
end

local function map(keys, required)
  return function(value, path)
    if type(value) ~= "table" then
      complain(path, "a map expected")
    end
    for key, item in pairs(value) do
      local rule = keys[key]
      if not rule then
        complain(path, "the key %q is not known", tostring(key))
      end
      rule(item, path .. "." .. key)
    end
    for _, key in ipairs(required or {}) do
      if value[key] == nil then
        complain(path, "the key %q is missing", key)
      end
    end
  end
end

local function names_to(rule)
  return function(value, path)
    if type(value) ~= "table" then
      complain(path, "a map expected")
    end
    for key, item in pairs(value) do
      rule(item, path .. "." .. tostring(key))
    end
  end
end

local function list(rule)
  return function(value, path)
    if type(value) ~= "table" then
      complain(path, "a list expected")
    end
    for index, item in pairs(value) do
      if math.type(index) ~= "integer" then
        complain(path, "a list expected, the key %q found", tostring(index))
      end
      rule(item, path .. "[" .. index - 1 .. "]")
    end
  end
end

local span = (function()
  local keys = {}
  for unit in pairs(duration.units) do
    keys[unit] = optional(whole)
  end
  return map(keys)
end)()

local nullable_texts = names_to(optional(text))
local maybe_text, maybe_whole = optional(text), optional(whole)
local maybe_flag, maybe_span = optional(flag), optional(span)

local function joined(...)
  local all = {}
  for _, keys in ipairs({ ... }) do
    for key, rule in pairs(keys) do
      all[key] = rule
    end
  end
  return all
end

local catch = map({
  ["error-kind"] = one_of("missing header", "invalid header",
    "invalid payload", "timeout", "cancellation", "invalid configuration",
    "invalid state", "internal logic error", "unknown error",
    "execution error", "mqtt error", "unsupported version"),
  ["is-shallow"] = maybe_flag,
  ["is-remote"] = maybe_flag,
  ["message"] = maybe_text,
  ["supplemental"] = optional(map({
    ["header-name"] = maybe_text,
    ["header-value"] = maybe_text,
    ["timeout-name"] = maybe_text,
    ["timeout-value"] = maybe_text,
    ["property-name"] = maybe_text,
    ["property-value"] = maybe_text,
    ["command-name"] = maybe_text,
    ["protocol-version"] = maybe_text,
    ["supported-protocols"] = maybe_text,
  })),
}, { "error-kind" })

local serializer = map({
  ["out-content-type"] = maybe_text,
  ["accept-content-types"] = optional(list(maybe_text)),
  ["indicate-character-data"] = maybe_flag,
  ["allow-character-data"] = maybe_flag,
  ["fail-deserialization"] = maybe_flag,
  ["bypass-serialization"] = maybe_flag, -- without meaning; see metl.md 5
})

local envoy = {
  ["serializer"] = optional(serializer),
  ["topic-namespace"] = maybe_text,
  ["topic-token-map"] = optional(nullable_texts),
}

local executor = map(joined(envoy, {
  ["command-name"] = maybe_text,
  ["request-topic"] = maybe_text,
  ["executor-id"] = maybe_text,
  ["idempotent"] = maybe_flag,
  ["cache-ttl"] = maybe_span,
  ["execution-timeout"] = maybe_span,
  ["request-responses-map"] = optional(names_to(list(maybe_text))),
  ["response-metadata"] = optional(nullable_texts),
  ["token-metadata-prefix"] = maybe_text,
  ["execution-concurrency"] = maybe_whole,
  ["raise-error"] = maybe_flag,
  ["sync"] = optional(list(map({
    ["signal-event"] = maybe_text,
    ["wait-event"] = maybe_text,
  }))),
}))

local invoker = map(joined(envoy, {
  ["command-name"] = maybe_text,
  ["request-topic"] = maybe_text,
  ["response-topic-prefix"] = maybe_text,
  ["response-topic-suffix"] = maybe_text,
  ["response-topic-pattern"] = maybe_text,
}))

local receiver = map(joined(envoy, {
  ["telemetry-topic"] = maybe_text,
  ["raise-error"] = maybe_flag,
}))

local sender = map(joined(envoy, {
  ["telemetry-name"] = maybe_text,
  ["telemetry-topic"] = maybe_text,
}))

local function prologue(more)
  local answers = optional(list(one_of("success", "fail", "drop")))
  return map(joined({
    ["mqtt-config"] = optional(map({ ["client-id"] = maybe_text })),
    ["push-acks"] = optional(map({
      ["publish"] = answers,
      ["subscribe"] = answers,
      ["unsubscribe"] = answers,
    })),
    ["countdown-events"] = optional(names_to(whole)),
    ["catch"] = optional(catch),
  }, more))
end

local inbound = {
  ["topic"] = maybe_text,
  ["payload"] = maybe_text,
  ["content-type"] = maybe_text,
  ["format-indicator"] = maybe_whole,
  ["qos"] = maybe_whole,
  ["message-expiry"] = maybe_span,
  ["metadata"] = optional(nullable_texts),
  ["packet-index"] = maybe_whole,
}

local everywhere = {
  ["disconnect"] = {},
  ["sleep"] = { ["duration"] = span },
  ["freeze time"] = {},
  ["unfreeze time"] = {},
}

local acknowledged = {
  ["await acknowledgement"] = { ["packet-index"] = maybe_whole },
}

local published = {
  ["await publish"] = { ["correlation-index"] = maybe_whole },
}

local executor_actions = joined(everywhere, acknowledged, published, {
  ["receive request"] = joined(inbound, {
    ["correlation-index"] = maybe_whole,
    ["correlation-id"] = maybe_text,
    ["response-topic"] = maybe_text,
    ["source-index"] = maybe_whole,
  }),
  ["sync"] = { ["signal-event"] = maybe_text, ["wait-event"] = maybe_text },
})

local invoker_actions = joined(everywhere, acknowledged, published, {
  ["receive response"] = joined(inbound, {
    ["correlation-index"] = maybe_whole,
    ["status"] = maybe_text,
    ["status-message"] = maybe_text,
    ["is-application-error"] = maybe_text,
    ["invalid-property-name"] = maybe_text,
    ["invalid-property-value"] = maybe_text,
  }),
  ["invoke command"] = {
    ["invocation-index"] = maybe_whole,
    ["command-name"] = maybe_text,
    ["topic-token-map"] = optional(nullable_texts),
    ["timeout"] = maybe_span,
    ["request-value"] = maybe_text,
    ["metadata"] = optional(nullable_texts),
  },
  ["await invocation"] = {
    ["invocation-index"] = maybe_whole,
    ["response-value"] = maybe_text,
    ["metadata"] = optional(nullable_texts),
    ["catch"] = optional(catch),
  },
})

local receiver_actions = joined(everywhere, acknowledged, {
  ["receive telemetry"] = joined(inbound, { ["source-index"] = maybe_whole }),
})

local sender_actions = joined(everywhere, {
  ["await publish"] = {},
  ["send telemetry"] = {
    ["telemetry-name"] = maybe_text,
    ["topic-token-map"] = optional(nullable_texts),
    ["timeout"] = maybe_span,
    ["telemetry-value"] = maybe_text,
    ["metadata"] = optional(nullable_texts),
    ["qos"] = maybe_whole,
    ["cloud-event"] = optional(map({
      ["source"] = maybe_text,
      ["type"] = maybe_text,
      ["spec-version"] = maybe_text,
      ["id"] = maybe_text,
      ["time"] = maybe_text,
      ["subject"] = maybe_text,
      ["data-schema"] = maybe_text,
    })),
  },
  ["await send"] = { ["catch"] = optional(catch) },
})

local function actions(kinds)
  return list(function(value, path)
    if type(value) ~= "table" or not kinds[value.action] then
      complain(path, "the action %q is not known",
        tostring(type(value) == "table" and value.action))
    end
    map(joined({ action = text }, kinds[value.action]))(value, path)
  end)
end

-- What can be checked of every envoy.
local any_envoy = {
  ["subscribed-topics"] = optional(list(text)),
  ["acknowledgement-count"] = maybe_whole,
  ["catch"] = optional(catch),
}

-- Entries are found by correlation data, or by the order of sending.
local function publications(more)
  return {
    ["publication-count"] = maybe_whole,
    ["published-messages"] = optional(list(map(joined({
      ["topic"] = maybe_text,
      ["payload"] = maybe_text,
      ["content-type"] = maybe_text,
      ["format-indicator"] = maybe_whole,
      ["expiry"] = maybe_whole,
      ["metadata"] = optional(nullable_texts),
      ["command-status"] = maybe_whole,
      ["is-application-error"] = maybe_flag,
      ["source-id"] = maybe_text,
    }, more)))),
  }
end

local correlated = publications({ ["correlation-index"] = maybe_whole })

local cloud_event = map({
  ["source"] = maybe_text,
  ["type"] = maybe_text,
  ["spec-version"] = maybe_text,
  ["id"] = maybe_text,
  ["time"] = maybe_text,
  ["data-content-type"] = maybe_text,
  ["subject"] = maybe_text,
  ["data-schema"] = maybe_text,
})

local counts = optional(names_to(whole))

local epilogues = {
  CommandExecutor = joined(any_envoy, correlated, {
    ["execution-count"] = maybe_whole,
    ["execution-counts"] = counts,
  }),
  CommandInvoker = joined(any_envoy, correlated),
  TelemetryReceiver = joined(any_envoy, correlated, {
    ["telemetry-count"] = maybe_whole,
    ["telemetry-counts"] = counts,
    ["received-telemetries"] = optional(list(map({
      ["telemetry-value"] = maybe_text,
      ["metadata"] = optional(nullable_texts),
      ["topic-tokens"] = optional(nullable_texts),
      ["source-index"] = maybe_whole,
      ["cloud-event"] = optional(cloud_event),
    }))),
  }),
  TelemetrySender = joined(any_envoy, publications({})),
}

--- Suites by the name of their folder: which list of envoys a prologue has,
--- and under which name the defaults have the settings of one.
schema.suites = {
  CommandExecutor = { list = "executors", one = "executor" },
  CommandInvoker = { list = "invokers", one = "invoker" },
  TelemetryReceiver = { list = "receivers", one = "receiver" },
  TelemetrySender = { list = "senders", one = "sender" },
}

local prologues = {
  CommandExecutor = prologue({ ["executors"] = list(executor) }),
  CommandInvoker = prologue({ ["invokers"] = list(invoker) }),
  TelemetryReceiver = prologue({ ["receivers"] = list(receiver) }),
  TelemetrySender = prologue({ ["senders"] = list(sender) }),
}

local suite_actions = {
  CommandExecutor = executor_actions,
  CommandInvoker = invoker_actions,
  TelemetryReceiver = receiver_actions,
  TelemetrySender = sender_actions,
}

--- Raises a sentence when a case has a key that the suite does not know, or a
--- value of another kind than it wants.
---@param suite string
---@param case table
function schema.check(suite, case)
  map({
    ["test-name"] = text,
    ["description"] = map({ condition = text, expect = text }),
    ["requires"] = optional(list(text)),
    ["prologue"] = prologues[suite],
    ["actions"] = optional(actions(suite_actions[suite])),
    ["epilogue"] = optional(map(epilogues[suite])),
  }, { "test-name", "prologue" })(case, "case")
end

--- The same for a file of defaults.
---@param suite string
---@param defaults table
function schema.check_defaults(suite, defaults)
  local envoys = {
    executor = executor, invoker = invoker, receiver = receiver,
    sender = sender,
  }
  local one = schema.suites[suite].one
  local kinds = {}
  for kind, keys in pairs(suite_actions[suite]) do
    kinds[kind:gsub(" ", "-")] = map(keys)
  end
  map({
    prologue = map({ [one] = envoys[one] }),
    actions = map(kinds),
  })(defaults, "defaults")
end

return schema
