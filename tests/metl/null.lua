--- An explicit null of a case, which is not the same as an absent key.
---
--- A case says three things with a key: a value, nothing at all (not checked;
--- the default), and null (must be absent; really missing).

local cjson = require "cjson"

local null = {}

--- The mark of an explicit null in tables that come from a file.
null.value = cjson.null

--- True when the table says something about the key, be it null.
---@param map table
---@param key string
---@return boolean
function null.given(map, key)
  return map[key] ~= nil
end

--- What the table holds under the key; nil for null and for absent.
---@param map table
---@param key string|integer
---@return any
function null.get(map, key)
  local value = map[key]
  if value == null.value then
    return nil
  end
  return value
end

--- The value as Lua's own, nil for null.
---@param value any
---@return any
function null.plain(value)
  if value == null.value then
    return nil
  end
  return value
end

return null
