local trial = require "trial"

--- Numbers go through `where` while `rotate` is done; all must be sent and
--- arrive.
return function(t, where, settings, rotate)
  settings.before = { "receive r a/b auto", "subscribe s a/b", "stream a/b 1 1 50" }
  settings.policy = "delay 20"
  local peer = t:connected(where, settings)
  t:await("numbers flow", function() return #peer:said("^sent") > 50 end)
  rotate(peer)
  local already = #peer:said("^sent")
  t:await("numbers go on", function() return #peer:said("^sent") > already + 50 end)
  peer:say("stop")
  t:await("all are sent", function() return peer:metrics().in_flight == 0 end)
  local arrived = {}
  t:await("all have arrived", function()
    for _, line in ipairs(peer:said("^message")) do arrived[line:match("(%d+)$")] = true end
    for _, line in ipairs(peer:said("^sent")) do
      if not arrived[line:match("(%d+)$")] then return false end
    end
    return true
  end)
  trial.equal(#peer:said("^unsent"), 0)
  return peer
end
