--- The test's own program in its world: it sends, invokes and answers as any
--- other client of the broker would.  It runs in a Lua state of the world; the
--- test begins its functions with `call` and looks at what they did with `take`.

local iotops = require "iotops"

local doing, asking = {}, {}

local results = {} -- of calls that have ended, by number
local waiting = {} -- requests that the test has not seen yet, in order
local asked = {}   -- requests that it has not answered yet, by number
local last = 0

-- Of a message or response: what is plain data.
local function plain(from)
  local to = {}
  for _, name in ipairs {
    "topic", "tokens", "content_type", "format_indicator", "sender_id", "invoker_id",
    "executor_id", "timestamp", "correlation_id", "status", "qos", "retain",
  } do
    to[name] = from[name]
  end
  to.user_data = {}
  for index, pair in ipairs(from.user_data or {}) do
    to.user_data[index] = { pair[1], pair[2] }
  end
  return to
end

local function plain_error(err)
  if not iotops.is_error(err) then
    return { kind = "unknown error", message = tostring(err) }
  end
  local to = { text = tostring(err) }
  for name, value in pairs(err) do
    if type(value) ~= "table" and type(value) ~= "function" and type(value) ~= "userdata" then
      to[name] = value
    end
  end
  return to
end

local function with_serializer(options)
  options = options or {}
  local name = options.raw and "raw" or nil
  options.raw = nil
  if name then
    options.serializer = iotops[name]
  end
  return options
end

-- ---------------------------------------------------------------- doing --

function doing.send(topic, value, options)
  return iotops.send(topic, value, with_serializer(options))
end

function doing.invoke(topic, value, options)
  local answer, response = iotops.invoke(topic, value, with_serializer(options))
  local told = plain(response)
  local code, payload = response:application_error()
  if code then
    told.application_error = { code = code, payload = payload }
  end
  return answer, told
end

--- Requests for a command are the test's to answer, whichever executor they name.
function doing.serve(pattern, rule, options)
  options = with_serializer(options)
  options.tokens = options.tokens or {}
  options.tokens.executorId = options.tokens.executorId or iotops.any
  iotops.on_command(pattern, options, function(value, request)
    last = last + 1
    local entry = { number = last, rule = rule, answered = iotops.event() }
    entry.value, entry.request = value, plain(request)
    waiting[#waiting + 1], asked[last] = entry, entry
    entry.answered:wait()
    if entry.failure then
      error(iotops.error { kind = "execution error", message = entry.failure }, 0)
    end
    return entry.answer, entry.options
  end)
end

function doing.respond(number, answer, options, failure)
  local entry = asked[number]
  asked[number] = nil
  entry.answer, entry.options, entry.failure = answer, options, failure
  entry.answered:set()
end

for _, name in ipairs { "get", "set", "del" } do
  doing["store_" .. name] = function(...)
    local store = assert(iotops.state_store())
    local value, err = store[name](store, ...)
    if value == nil and iotops.is_error(err) then
      error(err, 0)
    end
    return value
  end
end

function doing.store_keys(pattern)
  local keys = {}
  for key in assert(iotops.state_store()):keys(pattern) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

-- --------------------------------------------------------------- asking --

--- What a call has come to; nil while it is under way.
function asking.result(number)
  local result = results[number]
  results[number] = nil
  return result
end

--- A request that the test has not seen.
function asking.request()
  local entry = table.remove(waiting, 1)
  return entry and {
    number = entry.number, rule = entry.rule, value = entry.value, request = entry.request,
  }
end

--- The value of a payload; JSON where it can be read as such.
function asking.decode(raw, content_type)
  if raw == "" then
    return nil
  elseif content_type == nil or content_type == "application/json" then
    local value, err = iotops.json.decode(raw)
    if not err then
      return value
    end
  end
  return raw
end

return {
  call = function(number, name, ...)
    local ended = table.pack(xpcall(doing[name], plain_error, ...))
    if number then
      results[number] = ended
    end
  end,
  take = function(name, ...)
    return asking[name](...)
  end,
}
