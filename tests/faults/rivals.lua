--- Three processes compete for one lock while each is stopped for longer than
--- the lease, killed and started again at random; what happened is checked
--- afterwards.  Arguments: seconds (60), seed.

package.path = "tests/faults/?.lua;tests/?.lua;" .. package.path
local check = require "rivals_check"
local iotops = require "iotops"
local process = require "process"
local standin = require "standin"

local rivals = {}

local RIVALS, LEASE = 3, 0.6
local SCRIPT = "tests/faults/rival.lua"

---@class rivals.Rival
---@field name string
---@field process process.Process

---@param seconds number
---@param seed integer
---@return rivals.History history
---@return table<string, integer> counts of what was done and of each kind of line
function rivals.run(seconds, seed)
  math.randomseed(seed)
  iotops.log.level "off"
  local place = standin.place()
  local session = place:session "rivals-witness"
  local store = assert(session:state_store())
  local history = { lock = {}, work = {}, lines = {} }
  local counts = { stopped = 0, killed = 0 }
  for _, key in ipairs { "lock", "work" } do
    assert(store:observe("rivals/" .. key, function(change)
      table.insert(history[key], { value = change.value, version = change.version })
    end))
  end

  local started, running = 0, {}
  local function start(slot)
    started = started + 1
    local name = ("rival%d"):format(started)
    local rival = process.start({ "lua5.4", SCRIPT, tostring(LEASE) },
      { env = place.broker:environment(name) })
    running[slot] = { name = name, process = rival }
  end
  local function collect(rival)
    for _, line in ipairs(rival.process.out) do
      local kind, first, second = line:match "^(%a+)%s*(%S*)%s*(%S*)$"
      if kind ~= "ready" then
        local numbered = second ~= ""
        table.insert(history.lines, {
          rival = rival.name, kind = kind, number = numbered and first or nil,
          text = numbered and second or first,
        })
        counts[kind] = (counts[kind] or 0) + 1
        if kind == "refused" then
          counts[second] = (counts[second] or 0) + 1
        end
      end
    end
  end

  -- Mostly the one that holds the lock.
  local function victim()
    local last = history.lock[#history.lock]
    for slot, rival in ipairs(running) do
      if last and rival.name == last.value and math.random(4) > 1 then
        return slot
      end
    end
    return math.random(RIVALS)
  end

  for slot = 1, RIVALS do start(slot) end
  local ends = iotops.now() + seconds
  while iotops.now() < ends do
    iotops.sleep(0.2 + math.random() * LEASE)
    local slot = victim()
    local rival = running[slot]
    if math.random(5) == 1 then
      rival.process:kill()
      collect(rival)
      counts.killed = counts.killed + 1
      start(slot)
    else
      rival.process:signal_with "sigstop"
      iotops.sleep(LEASE * (1.5 + math.random()))
      rival.process:signal_with "sigcont"
      counts.stopped = counts.stopped + 1
    end
  end
  iotops.sleep(0.3)
  for _, rival in ipairs(running) do
    rival.process:kill()
    process.pass(0.05)
    collect(rival)
  end
  iotops.sleep(0.2) -- what was on its way has come
  session:exit()
  process.kill_all()
  return history, counts
end

if arg and arg[0] and arg[0]:find "rivals%.lua$" then
  local seconds, seed = tonumber(arg[1]) or 60, tonumber(arg[2]) or os.time()
  print(("%d rivals for %g s, seed %d"):format(RIVALS, seconds, seed))
  local history, counts = rivals.run(seconds, seed)
  local found = check.violations(history)
  for _, violation in ipairs(found) do print("VIOLATION: " .. violation) end
  print(("%d stopped, %d killed; %d grants, %d writes, %d of stale holders refused; %d violations")
    :format(counts.stopped, counts.killed, counts.grant or 0, counts.ok or 0,
      counts.fencing_token_lower_version or 0, #found))
  os.exit(#found == 0 and 0 or 1)
end

return rivals
