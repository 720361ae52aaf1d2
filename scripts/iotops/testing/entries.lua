--- The state store of a world, as the test fills it and looks at it.

local entries = {}

---@class iotops.testing.Store
---@field private world iotops.testing.World
local Store = {}
Store.__index = Store

---@param key string
---@param value string
---@param options? iotops.SetOptions
function Store:set(key, value, options)
  return self.world:must("store_set", key, value, options)
end

---@param key string
---@return string? value
function Store:get(key)
  return self.world:must("store_get", key)
end

---@param key string
function Store:del(key)
  return self.world:must("store_del", key)
end

--- Keys that match, in order.
---@param pattern? string default: all
---@return string[]
function Store:keys(pattern)
  return self.world:must("store_keys", pattern or "*")
end

---@param world iotops.testing.World
---@return iotops.testing.Store
function entries.new(world)
  return setmetatable({ world = world }, Store)
end

return entries
