--- A bounded store: past its size, the entry used longest ago that may go is
--- thrown out.

---@class iotops.Cache
---@field private size integer
---@field private count integer
---@field private entries table<any, {value: any, used: integer}>
---@field private turn integer
---@field private is_busy fun(value: any): boolean
---@field private drop fun(value: any)
local Cache = {}
Cache.__index = Cache

local cache = {}

---@param size integer
---@param is_busy fun(value: any): boolean may not go now
---@param drop fun(value: any) is told of each that goes
---@return iotops.Cache
function cache.new(size, is_busy, drop)
  return setmetatable({
    size = size, count = 0, entries = {}, turn = 0, is_busy = is_busy, drop = drop,
  }, Cache)
end

---@param key any
---@return any value nil: not there
function Cache:get(key)
  local entry = self.entries[key]
  if entry then
    self.turn = self.turn + 1
    entry.used = self.turn
    return entry.value
  end
  return nil
end

function Cache:evict()
  local oldest, oldest_key
  for key, entry in pairs(self.entries) do
    if (not oldest or entry.used < oldest.used) and not self.is_busy(entry.value) then
      oldest, oldest_key = entry, key
    end
  end
  if oldest then
    self.entries[oldest_key] = nil
    self.count = self.count - 1
    self.drop(oldest.value)
  end
end

---@param key any
---@param value any
function Cache:put(key, value)
  if self.count >= self.size then
    self:evict()
  end
  self.turn = self.turn + 1
  self.entries[key] = { value = value, used = self.turn }
  self.count = self.count + 1
end

return cache
