--- The state store of a test's world: the stand-in, without a file.

local iotops = require "iotops"
local engine = require "standin.statestore.engine"
local service = require "standin.statestore.service"

local served = service.new(iotops.session(), engine.new {})

return {
  call = function()
    assert(served.executor:start())
  end,
  take = function() end,
}
