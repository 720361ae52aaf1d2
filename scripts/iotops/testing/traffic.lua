--- What a test sends in its world, and what it expects of the scripts in it.

local core = require "iotops.world"
local message = require "iotops.testing.message"

local TESTER, STORE = "tester", "statestore"

---@class iotops.testing.World
local Traffic = {}

--- Sends one telemetry message, as another program would.
---@param topic string
---@param value any plain data, or bytes with `raw = true`
---@param options? iotops.testing.PublishOptions
---@return iotops.testing.Message message for world:acknowledged()
function Traffic:publish(topic, value, options)
  local since = self.core:count()
  self:must("send", topic, value, options)
  return self:first_of(TESTER, topic, since)
end

--- Publishes a message as it is, without any of the protocol's properties.
---@param raw iotops.testing.RawMessage
---@return iotops.testing.Message
function Traffic:publish_raw(raw)
  local since = self.core:count()
  local ok, why = pcall(self.deliver, self, raw.from or TESTER, raw)
  if not ok then
    error(why, 2)
  end
  return self:first_of(raw.from or TESTER, raw.topic, since)
end

---@private
function Traffic:deliver(from, raw)
  self.core:publish(from, raw)
  self:settle()
end

---@private
function Traffic:message(number)
  return message.new(self.core, number, function(raw, content_type)
    return self.core:take(self.peer, "decode", raw, content_type)
  end)
end

---@private
function Traffic:first_of(from, topic, since)
  local number = since
  while true do
    number = self.core:find(number + 1, topic, "")
    if not number then
      return nil
    elseif self.core:message(number).from == from then
      return self:message(number)
    end
  end
end

--- True once all to whom a message was delivered have acknowledged it.
---@param sent iotops.testing.Message
---@return boolean
function Traffic:acknowledged(sent)
  local deliveries, acknowledged = self.core:delivery(sent.number)
  return acknowledged == deliveries
end

-- Messages of scripts; those of the test and of the store are not looked at.
local function is_of_script(found)
  return found.from ~= STORE and not found.topic:find "^statestore/"
    and not found.topic:find "^clients/"
end

-- The messages on a filter, or all that is_of_script, from the n-th on.
---@private
function Traffic:each_of(filter, from)
  local number = (from or 1) - 1
  return function()
    while true do
      number = self.core:find(number + 1, filter or "#", TESTER)
      if not number then
        return nil
      elseif filter or is_of_script(self.core:message(number)) then
        return self:message(number)
      end
    end
  end
end

--- What scripts have sent so far: on `filter`, or all but requests to the state
--- store and responses.
---@param filter? string
---@return iotops.testing.Message[]
function Traffic:published(filter)
  local list = {}
  for found in self:each_of(filter) do
    list[#list + 1] = found
  end
  return list
end

---@private
function Traffic:next_unseen(filter)
  local number = self.unseen[filter] or 1
  while true do
    number = self.core:find(number, filter, TESTER)
    if not number then
      self.unseen[filter] = self.core:count() + 1
      return nil
    elseif not self.seen[number] then
      self.seen[number], self.unseen[filter] = true, number + 1
      return self:message(number)
    end
    number = number + 1
  end
end

-- What has happened, for the message of an error.
---@private
function Traffic:story()
  local lines = {}
  for found in self:each_of() do
    lines[#lines + 1] = ("  %s %s%s"):format(found.topic, message.shown(found),
      self.seen[found.number] and " (expected before)" or "")
  end
  if #lines > 12 then
    lines = table.move(lines, #lines - 11, #lines, 2, { "  ..." })
  end
  table.insert(lines, 1, #lines == 0 and "scripts have sent nothing" or "scripts have sent:")
  for _, each in ipairs(self.scripts) do
    for _, err in ipairs(each:errors()) do
      lines[#lines + 1] = ("error of %s: %s"):format(each.name, err.message)
    end
  end
  return table.concat(lines, "\n")
end

--- The next message of a script on `filter` that was not expected before.  When
--- there is none, waits up to `within` seconds of the world's time, then fails
--- with what came instead.
---@param filter string
---@param options? {within: number?}
---@return iotops.testing.Message
function Traffic:expect(filter, options)
  if not core.is_filter(filter) then
    error(("'%s' is not a topic filter"):format(tostring(filter)), 2)
  end
  local left = math.ceil((options and options.within or 0) * 1000)
  local found = self:next_unseen(filter)
  while not found and left > 0 do
    left = self:step(left)
    found = self:next_unseen(filter)
  end
  if not found then
    error(("no message on %s%s; %s"):format(filter,
      options and options.within and (" within %g s"):format(options.within) or "",
      self:story()), 2)
  end
  return found
end

--- Fails when a script has sent a message on `filter` that was not expected.
---@param filter string
function Traffic:expect_nothing(filter)
  local found = self:next_unseen(filter)
  if found then
    error(("a message on %s: %s %s"):format(filter, found.topic, message.shown(found)), 2)
  end
end

return Traffic
