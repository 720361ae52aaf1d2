--- How a case fails: the check, what was expected and what was seen.

local null = require "metl.null"

local failure = {}

local Failure = {}
Failure.__index = Failure
Failure.__name = "metl.failure"

local function show(value)
  value = null.plain(value)
  if type(value) == "string" then
    return string.format("%q", value)
  elseif type(value) == "table" and not getmetatable(value) then
    local parts = {}
    for key, item in pairs(value) do
      parts[#parts + 1] = tostring(key) .. "=" .. show(item)
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ", ") .. "}"
  end
  return value == nil and "absent" or tostring(value)
end

failure.show = show

function Failure:__tostring()
  if not self.compared then
    return string.format("  check:    %s", self.check)
  end
  return string.format("  check:    %s\n  expected: %s\n  seen:     %s",
    self.check, show(self.expected), show(self.seen))
end

--- Ends the case: something that is no comparison went wrong.
---@param format string
---@param ... any
function failure.raise(format, ...)
  error(setmetatable({ check = string.format(format, ...) }, Failure), 0)
end

--- The same as a value: an error that nobody foresaw.
---@param text string
---@return table
function failure.of(text)
  return setmetatable({ check = text }, Failure)
end

--- Ends the case unless `seen` equals `expected` (null: absent).
---@param check string # which check, as a reader of the case finds it
---@param expected any
---@param seen any
function failure.unless_equal(check, expected, seen)
  if null.plain(expected) ~= null.plain(seen) then
    error(setmetatable({
      check = check, expected = expected, seen = seen, compared = true,
    }, Failure), 0)
  end
end

--- True for errors that the functions above raised.
---@param value any
---@return boolean
function failure.is(value)
  return getmetatable(value) == Failure
end

return failure
