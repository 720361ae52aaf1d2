--- What expires next: a binary heap of (time, item).  An item that was replaced
--- stays in it until its time comes; whoever takes it out looks whether it
--- still counts.

---@class standin.Heap
---@field private times integer[]
---@field private items any[]
---@field private count integer
local Heap = {}
Heap.__index = Heap

local heap = {}

---@return standin.Heap
function heap.new()
  return setmetatable({ times = {}, items = {}, count = 0 }, Heap)
end

function Heap:swap(a, b)
  local times, items = self.times, self.items
  times[a], times[b] = times[b], times[a]
  items[a], items[b] = items[b], items[a]
end

---@param time integer
---@param item any
function Heap:push(time, item)
  local times, at = self.times, self.count + 1
  self.count, times[at], self.items[at] = at, time, item
  while at > 1 and times[at // 2] > times[at] do
    self:swap(at, at // 2)
    at = at // 2
  end
end

---@return integer
function Heap:size()
  return self.count
end

--- The earliest time; nil when empty.
---@return integer?
function Heap:next_time()
  return self.times[1]
end

--- Takes out the earliest item if its time is not after `now`.
---@param now integer
---@return any item nil: none is due
function Heap:pop_due(now)
  local times, count = self.times, self.count
  if count == 0 or times[1] > now then
    return nil
  end
  local item = self.items[1]
  self:swap(1, count)
  times[count], self.items[count] = nil, nil
  count = count - 1
  self.count = count
  local at = 1
  while true do
    local child = at * 2
    if child < count and times[child + 1] < times[child] then
      child = child + 1
    end
    if child > count or times[at] <= times[child] then
      return item
    end
    self:swap(at, child)
    at = child
  end
end

return heap
