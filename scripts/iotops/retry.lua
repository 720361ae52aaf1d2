--- `on_error = "retry"`: a handler that fails is called again, and what cannot
--- be handled at all goes to a dead letter topic.

local core = require "iotops.core"

local retry = {}

---@class iotops.RetryOptions
---@field on_error "ack"|"retry"|nil default "ack"
---@field retries integer? further tries, default 3
---@field retry_pause number? seconds between them, default 1
---@field dead_letter string? topic pattern for what failed every time

local function check(options, name, kind, otherwise)
  local value = options[name]
  if value == nil then
    return otherwise
  end
  if (kind == "integer" and math.type(value) ~= "integer")
    or (kind == "number" and type(value) ~= "number")
    or (kind == "string" and type(value) ~= "string")
    or (kind ~= "string" and value < 0) then
    local expected = { integer = "an integer from 0", number = "seconds", string = "a string" }
    core.misuse(("option '%s': %s expected"):format(name, expected[kind]))
  end
  return value
end

-- One line that user data may hold.
local function reason(err)
  local line = tostring(err):match "^[^\n]*"
  line = line:gsub("%c", " ")
  return utf8.len(line) and line or "the handler failed"
end

--- Wraps `handler` as the options say, which lose what concerns this.
---@param options table
---@param handler fun(value: any, message: iotops.Message)
---@param send fun(pattern: string, value: any, options: table)
---@return fun(value: any, message: iotops.Message)
function retry.wrap(options, handler, send)
  local on_error = options.on_error or "ack"
  local retries = check(options, "retries", "integer", 3)
  local pause = check(options, "retry_pause", "number", 1)
  local dead_letter = check(options, "dead_letter", "string", nil)
  local serializer = options.serializer
  if on_error ~= "ack" and on_error ~= "retry" then
    core.misuse("option 'on_error': \"ack\" or \"retry\" expected")
  end
  for _, name in ipairs { "on_error", "retries", "retry_pause", "dead_letter" } do
    options[name] = nil
  end
  if on_error == "ack" and not dead_letter then
    return handler
  end
  if on_error == "ack" then
    retries = 0
  end

  return function(value, message)
    local failed
    for try = 0, retries do
      local ok, err = xpcall(handler, debug.traceback, value, message)
      if ok then
        return
      end
      failed = err
      if try < retries then
        core.log.warn(("try %d of %d failed, the next is in %g s: %s"):format(try + 1,
          retries + 1, pause, tostring(err)))
        core.sleep(pause)
      end
    end
    if dead_letter then
      local user_data = {}
      for i, pair in ipairs(message.user_data) do
        user_data[i] = pair
      end
      user_data[#user_data + 1] = { "deadLetterReason", reason(failed) }
      user_data[#user_data + 1] = { "deadLetterTopic", message.topic }
      send(dead_letter, value, {
        tokens = message.tokens, user_data = user_data, serializer = serializer,
      })
    end
    error(failed, 0)
  end
end

return retry
