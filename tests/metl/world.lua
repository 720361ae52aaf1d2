--- What a running case knows: its indexes, its envoys, what is under way.

local failure = require "metl.failure"
local stub = require "metl.stub"

local world = {}

---@class metl.world
---@field case metl.case
---@field envoys table[] # in the order of the prologue
---@field events table<string, metl.countdown>
---@field correlations table<integer, string> # correlation data by index
---@field invocations table<integer, metl.call>
---@field sends metl.call[] # not awaited yet, oldest first
---@field telemetries table[] # delivered to receiver 0 and on, in order
local World = {}
World.__index = World

---@param case metl.case
---@return metl.world
function world.new(case)
  return setmetatable({
    case = case,
    envoys = {},
    events = {},
    correlations = {},
    invocations = {},
    sends = {},
    calls = {},
    telemetries = {},
    packet_ids = {},
    sources = {},
  }, World)
end

--- The packet id of an index, made at its first use; and whether it was used
--- before, which makes a delivery a repeated one.
---@param index integer|nil # nil: a fresh id
---@return integer id
---@return boolean again
function World:packet_id(index)
  if index == nil then
    return stub.packet_id(), false
  end
  local again = self.packet_ids[index] ~= nil
  if not again then
    self.packet_ids[index] = stub.packet_id()
  end
  return self.packet_ids[index], again
end

--- The sender id of an index, made at its first use.
---@param index integer
---@return string
function World:source(index)
  if not self.sources[index] then
    local _, text = stub.uuid()
    self.sources[index] = text
  end
  return self.sources[index]
end

--- The correlation data of an index that something has bound.
---@param index integer
---@return string
function World:correlation(index)
  return self.correlations[index]
    or failure.raise("nothing has bound correlation-index %d", index)
end

--- A countdown event of the prologue.
---@param name string
---@return metl.countdown
function World:event(name)
  return self.events[name]
    or failure.raise("the prologue has no countdown event %q", name)
end

return world
