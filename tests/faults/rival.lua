--- One of several that compete for a lock: takes it, writes a key under its
--- protection, lets go, and begins again.  Prints what it did, a line each:
---   grant TOKEN | write NUMBER TOKEN | ok NUMBER VERSION | refused NUMBER WHY
---   | lost | release
--- Argument: the lease in seconds.
local iotops = require "iotops"

iotops.log.level "off"
io.stdout:setvbuf "line"
local lease = tonumber(arg[1])
local store = assert(iotops.state_store())
local name = iotops.session():client_id()
local number = 0

-- Writes with a token, which may be stale.
local function write(token)
  number = number + 1
  local at = number
  print("write", at, token)
  local applied, version = store:set("rivals/work", ("%s %d %s"):format(name, at, token),
    { fencing_token = token, timeout = 2 })
  if applied then
    print("ok", at, version)
  else
    print("refused", at, version.service_error or version.kind)
  end
  return applied
end

iotops.spawn(function()
  local lost = iotops.event()
  local lock = assert(iotops.lock("rivals/lock", {
    request_timeout = 1,
    on_lost = function()
      print "lost"
      lost:set()
    end,
  }))
  print "ready"
  while true do
    lost:reset()
    local token = lock:lock { lease = lease, renewal_period = lease / 3, timeout = 30 }
    if token then
      local last = token
      print("grant", token)
      local ends = iotops.now() + lease * (0.5 + math.random())
      while not lost:is_set() and iotops.now() < ends do
        last = lock:token() or token
        write(last)
        lost:wait(0.02)
      end
      write(last) -- who was stopped meanwhile does not know that it is late
      print "release"
      lock:release()
    end
    iotops.sleep(0.01 + math.random() * 0.05)
  end
end)
iotops.run()
