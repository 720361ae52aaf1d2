-- Several instances of which exactly one leads: it counts seconds in the state
-- store.  When it dies, another goes on within the term and a second.
--
--   iotops dev                                  prints where its broker is
--   AIO_MQTT_CLIENT_ID=one AIO_BROKER_... iotops run scripts/samples/leader.lua
--   AIO_MQTT_CLIENT_ID=two AIO_BROKER_... iotops run scripts/samples/leader.lua
--   iotops kv watch samples/leader/ticks
--
-- Kill the one that leads, or stop it with kill -STOP for longer than the term:
-- when it goes on it still believes that it leads, but what it writes carries
-- the token of its term, and the store refuses it.

local iotops = require "iotops"

local TERM = tonumber(os.getenv "TERM_SECONDS") or 5

-- What only the leader may do.  False: it leads no more.
local function tick(store, token)
  local ticks = tonumber((store:get "samples/leader/ticks")) or 0
  local written, err = store:set("samples/leader/ticks", tostring(ticks + 1),
    { fencing_token = token })
  if not written then
    iotops.log.warn(tostring(err))
  end
  return written
end

iotops.on_start(function()
  local store = assert(iotops.state_store())
  local lost, stopping, done = iotops.event(), nil, iotops.event()
  local election = assert(iotops.leader_election("samples/leader", {
    term = TERM,
    renewal_period = TERM / 3,
    on_lost = function() lost:set() end,
  }))
  -- A new version of this script goes on leading under the same name; else
  -- another instance is to be elected at once.
  iotops.on_stop(function(reason)
    stopping = reason
    lost:set()
    election:cancel()
    done:wait(5)
    if reason == "stop" then
      election:resign()
    end
  end)
  while not stopping do
    lost:reset()
    local token, err = election:campaign()
    if token then
      iotops.log.info("I lead, as " .. election:candidate_name())
      repeat
        token = election:fencing_token() or token
      until not tick(store, token) or lost:wait(1)
      iotops.log.info "I lead no more"
    elseif not stopping then
      iotops.log.warn("the campaign failed: " .. tostring(err))
      iotops.sleep(1)
    end
  end
  done:set()
end)

iotops.run()
