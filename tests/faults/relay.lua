--- A TCP relay between a client and a broker: it delays, cuts at a byte,
--- closes one direction only, freezes and resets.

local uv = require "luv"

local relay = {}

---@class Relay
---@field port integer
---@field to integer the broker's port
---@field delay integer ms that bytes wait, each way
---@field refuse boolean? connections are closed at once
---@field cut_up integer? bytes towards the broker until the next cut
---@field cut_down integer? bytes towards the client until the next cut
---@field frozen boolean? bytes are swallowed, both ways
---@field on_bytes fun(up: boolean, bytes: string, pair: table)? sees all
---@field accepted integer connections so far
local Relay = {}
Relay.__index = Relay

local function close(handle)
  if not handle:is_closing() then handle:close() end
end

local function end_pair(self, pair)
  self.pairs[pair] = nil
  close(pair.client)
  close(pair.broker)
end

local function pass_on(self, pair, up, bytes)
  if self.frozen then return end
  local field = up and "cut_up" or "cut_down"
  local target, cut = up and pair.broker or pair.client, self[field]
  if cut and #bytes >= cut then
    self[field] = nil
    if cut > 0 then target:write(bytes:sub(1, cut)) end
    self.cuts = self.cuts + 1
    return end_pair(self, pair)
  elseif cut then
    self[field] = cut - #bytes
  end
  if self.on_bytes then self.on_bytes(up, bytes, pair) end
  target:write(bytes)
end

local function pump(self, pair, from, up)
  from:read_start(function(err, bytes)
    if err or not bytes then
      if self.pairs[pair] then end_pair(self, pair) end
      return
    end
    if self.delay == 0 then return pass_on(self, pair, up, bytes) end
    local timer = uv.new_timer()
    timer:start(self.delay, 0, function()
      timer:close()
      if self.pairs[pair] then pass_on(self, pair, up, bytes) end
    end)
  end)
end

local function accept(self)
  local pair = { client = uv.new_tcp(), broker = uv.new_tcp() }
  self.listener:accept(pair.client)
  self.accepted = self.accepted + 1
  if self.refuse then return close(pair.client) end
  self.pairs[pair] = true
  pair.client:nodelay(true)
  pair.broker:nodelay(true)
  pair.broker:connect(self.host, self.to, function(err)
    if err or not self.pairs[pair] then return end_pair(self, pair) end
    pump(self, pair, pair.client, true)
    pump(self, pair, pair.broker, false)
  end)
end

--- Ends every connection; with a reset, or as a peer that closes.
function Relay:cut(reset)
  for pair in pairs(self.pairs) do
    if reset then
      self.pairs[pair] = nil
      pair.client:close_reset()
      close(pair.broker)
    else
      end_pair(self, pair)
    end
  end
end

--- Ends the direction towards the client, or the other; the rest stays open.
function Relay:half_close(towards_client)
  for pair in pairs(self.pairs) do
    local handle = towards_client and pair.client or pair.broker
    handle:shutdown()
  end
end

function Relay:close()
  self:cut()
  close(self.listener)
end

---@param to integer port
---@param host? string numeric; the loopback unless given
---@return Relay
function relay.new(to, host)
  local self = setmetatable({
    to = to, host = host or "127.0.0.1",
    delay = 0, pairs = {}, accepted = 0, cuts = 0, listener = uv.new_tcp(),
  }, Relay)
  assert(self.listener:bind("127.0.0.1", 0))
  assert(self.listener:listen(64, function() accept(self) end))
  self.port = self.listener:getsockname().port
  return self
end

return relay
