--- Compares an error of the product with the `catch` of a case.

local duration = require "metl.duration"
local failure = require "metl.failure"
local null = require "metl.null"

local catch = {}

local function same(value)
  return value
end

local function timeout_name(value)
  return (value:gsub("_", ""):lower())
end

-- Languages spell properties their own way: the last part of a path, without
-- single underscores and capitals; two underscores are a header's.
local function property_name(value)
  local last = value:match("[^.]*$")
  last = last:gsub("__", "\0"):gsub("_", ""):gsub("\0", "__")
  return last:lower()
end

local function milliseconds(value)
  return math.floor(value * 1000 + 0.5)
end

local function milliseconds_of(text)
  local ms = duration.parse(text) or failure.raise("no duration: %q", text)
  return math.floor(ms + 0.5)
end

local function joined(majors)
  return table.concat(majors, " ")
end

-- What each key of `supplemental` is compared with: a field of the error, and
-- how both sides are brought into one form.
local supplements = {
  ["header-name"] = { field = "header_name" },
  ["header-value"] = { field = "header_value", seen = tostring },
  ["timeout-name"] = {
    field = "timeout_name", expected = timeout_name, seen = timeout_name,
  },
  ["timeout-value"] = {
    field = "timeout_value", expected = milliseconds_of, seen = milliseconds,
  },
  ["property-name"] = {
    field = "property_name", expected = property_name, seen = property_name,
  },
  ["property-value"] = { field = "property_value", seen = tostring },
  ["command-name"] = { field = "command_name" },
  ["protocol-version"] = { field = "protocol_version" },
  ["supported-protocols"] = {
    field = "supported_protocol_major_versions", seen = joined,
  },
}

local function normalised(value, how)
  value = null.plain(value)
  if value ~= nil then
    value = (how or same)(value)
  end
  return value
end

--- Ends the case unless `err` is the error that is expected.
---@param expected table # a `catch`
---@param err any # what happened; nil: nothing did
function catch.compare(expected, err)
  failure.unless_equal("an error", expected["error-kind"],
    err and (type(err) == "table" or type(err) == "userdata") and err.kind
      or err)
  if null.given(expected, "is-shallow") then
    failure.unless_equal("is-shallow", expected["is-shallow"], err.is_shallow)
  end
  if null.given(expected, "is-remote") then
    failure.unless_equal("is-remote", expected["is-remote"], err.is_remote)
  end
  if null.given(expected, "message") then
    failure.unless_equal("message", expected.message, err.message)
  end
  for key, value in pairs(null.get(expected, "supplemental") or {}) do
    local how = supplements[key]
    failure.unless_equal(key, normalised(value, how.expected),
      normalised(err[how.field], how.seen))
  end
end

return catch
