local process = require "process"
local hosting = require "hosting"
local uv = require "luv"

local BEGINS = [[
local iotops = require "iotops"
]]

-- What a handler does, and what the log says of it.  `line` is where, counted
-- from the first line of the text.
local RUNAWAYS = {
  { name = "an endless loop", text = [[
local n = 0
while true do n = n + 1 end]], line = 2 },
  { name = "a loop inside pcall inside a loop", text = [[
while true do
  pcall(function()
    while true do pcall(function() while true do end end) end
  end)
end]], line = 3 },
  { name = "a loop in a coroutine", text = [[
local spin = coroutine.wrap(function()
  while true do pcall(function() while true do end end) end
end)
while true do pcall(spin) end]], line = 2 },
  { name = "a loop in coroutines in coroutines, each caught", text = [[
local function nest(depth)
  while true do
    if depth > 0 then coroutine.resume(coroutine.create(nest), depth - 1) end
  end
end
nest(20)]], line = 2, to = 3 },
  { name = "a loop in a message handler", text = [[
while true do
  xpcall(function() while true do end end, function() while true do end end)
end]], line = 2 },
  { name = "a loop in __close after the loop", text = [[
local spins <close> = setmetatable({}, { __close = function() while true do end end })
while true do end]], line = 2 },
  { name = "a loop in __close of a coroutine that is closed", text = [[
local co = coroutine.create(function()
  local spins <close> = setmetatable({}, { __close = function() while true do end end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)]], line = 2 },
  { name = "a loop in __tostring of an error", text = [[
error(setmetatable({}, { __tostring = function() while true do end end }))]], line = 1 },
  { name = "a flood of coroutines", text = [[
local all = {}
while true do
  local co = coroutine.create(function() coroutine.yield() end)
  coroutine.resume(co)
  all[#all + 1] = co
end]], line = 3, says = "stopped: needs more than the 10000 coroutines" },
  { name = "a flood of coroutines that is caught", text = [[
local all = {}
while true do pcall(function()
  all[#all + 1] = coroutine.wrap(function() end)
end) end]], line = 3, says = "stopped: needs more than the 10000 coroutines" },
  { name = "a flood of spawned functions", text = [[
while true do iotops.spawn(iotops.sleep, 1) end]], line = 1,
    says = "stopped: needs more than the 10000 spawned functions" },
  { name = "a flood of timers", text = [[
while true do iotops.after(1000, print) end]], line = 1,
    says = "stopped: needs more than the 10000 timers" },
  { name = "a memory eater", text = [[
local all = {}
while true do all[#all + 1] = ("x"):rep(100000) .. #all end]], line = 2,
    says = "stopped: needs more than the 32 MiB of memory that a script may hold" },
  { name = "a memory eater that catches the error", text = [[
local all = {}
while true do pcall(function()
  while true do all[#all + 1] = { #all } end
end) end]], line = 3,
    says = "stopped: needs more than the 32 MiB" },
  { name = "a global that is eaten into", text = [[
kept = kept or {}
while true do kept[#kept + 1] = ("x"):rep(20000) .. #kept end]], line = 2,
    says = "stopped: needs more than the 32 MiB" },
  { name = "deep recursion", text = [[
local function deeper(n) return 1 + deeper(n + 1) end
return deeper(1)]], line = 1, says = "stopped: needs more than the 32 MiB" },
  { name = "a pattern that backtracks", text = [[
return ("a"):rep(30000):find(".-.-.-.-x")]], line = 1 },
  { name = "a pattern that backtracks in gsub", text = [[
return ("a"):rep(30000):gsub("a*a*a*a*b", "")]], line = 1 },
  { name = "a pattern that backtracks and is caught", text = [[
while true do pcall(string.match, ("a"):rep(30000), "(.-)(.-)%1%2x") end]], line = 1 },
  { name = "a loop in a function that gsub calls", text = [[
return ("a"):rep(30):gsub("a", function()
  while true do end
end)]], line = 2 },
  { name = "a table.move without end", text = [[
table.move({}, 1, math.maxinteger - 1, 2)]], line = 1, says = "more elements than" },
  { name = "a table.insert without end", text = [[
table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, "x")]],
    line = 1, says = "more elements than" },
  { name = "a table.remove without end", text = [[
table.remove(setmetatable({}, { __len = function() return 1 << 50 end }), 1)]],
    line = 1, says = "more elements than" },
  { name = "a table.concat without end", text = [[
table.concat(setmetatable({}, { __index = string.lower }), "", 1, 1 << 50)]],
    line = 1, says = "more elements than" },
  { name = "a text too long to hold", text = [[
return ("x"):rep(1 << 40)]], line = 1, says = "more than a script may hold" },
  { name = "nothing, repeated without end", text = [[
assert((""):rep(1 << 60) == "" and (""):rep(1) == "" and ("x"):rep(3, ",") == "x,x,x")
error("done")]], line = 2, says = "done" },
  { name = "a finalizer", text = [[
setmetatable({}, { __gc = function() while true do end end })]], line = 1,
    says = "__gc is not available" },
  { name = "a hook of its own", text = [[
debug.sethook(function() while true do end end, "l")]], line = 1,
    says = "debug.sethook is not available" },
  { name = "a binary chunk", text = [[
assert(load(string.dump(function() end)))]], line = 1,
    says = "attempt to load a binary chunk" },
}

-- Seconds; under sanitizers even the memory limit takes long to reach.
local TURN = require("sanitized").flags == "" and 0.5 or 2
local TIME = ("stopped: ran longer than %d ms"):format(TURN * 1000)

describe("a script over its limits", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("is stopped at its line, and the others go on", function()
    place = hosting.place { log_all = true }
    local scripts = { place:script("steady", BEGINS .. [[
      iotops.on_telemetry("steady", function(value)
        local file = assert(io.open("FOLDER/answers", "a"))
        file:write(value.n, "\n")
        file:close()
      end)
    ]]) }
    for index, runaway in ipairs(RUNAWAYS) do
      scripts[#scripts + 1] = place:script("runaway" .. index, BEGINS
        .. ('iotops.on_telemetry("work/%d", function()\n'):format(index)
        .. runaway.text .. "\nend)\n"
        .. ('iotops.on_telemetry("again/%d", function() error("still here") end)\n')
          :format(index))
    end
    local host = place:run(scripts,
      { args = { "--turn-limit", tostring(TURN), "--memory-limit", "32" } })
    hosting.record(host, "subscribed: ", #scripts)
    for index, runaway in ipairs(RUNAWAYS) do
      local topic = "work/" .. index
      local began = uv.hrtime()
      place:publish(topic, "{}")
      place:publish("steady", ('{"n":%d}'):format(index))
      local record = process.eventually(runaway.name .. " is stopped", function()
        for _, record in ipairs(hosting.records(host)) do
          if record.topic == topic and record.level == "error" then return record end
        end
        assert(not host.code, "the host has ended")
      end, 20)
      place:await_notes("answers", index)
      local seconds = (uv.hrtime() - began) / 1e9
      assert.is_true(seconds < 10, ("%s took %.1f s"):format(runaway.name, seconds))
      local says = runaway.says or TIME
      local first = record.message:match("^[^\n]*")
      assert.truthy(first:find(says, 1, true), runaway.name .. ": " .. first)
      local line = tonumber(record.message:match("runaway%d+%.lua:(%d+):"))
      local at, to = runaway.line + 2, (runaway.to or runaway.line) + 2
      assert.is_true(line ~= nil and line >= at and line <= to,
        ("%s: not at %d but %s"):format(runaway.name, at, record.message))
      -- The script itself goes on as well.
      place:publish("again/" .. index, "{}")
      hosting.record(host, "still here", index)
    end
    process.eventually("all are acknowledged", function()
      return #select(2, place:acknowledgements()) == 3 * #RUNAWAYS
    end)
    hosting.stop(host)
  end)

  it("is not loaded when its main chunk does not end, and the old one serves on", function()
    place = hosting.place()
    local path = place:script("work", BEGINS .. [[
      iotops.on_telemetry("work", function() error("the old one") end)
    ]])
    local host = place:run({ path }, { args = { "--load-limit", "0.2" } })
    place:script("work", BEGINS .. "while true do end\n")
    local record = hosting.record(host, "cannot reload; still serving generation 1")
    assert.truthy(record.message:find("work%.lua:2: stopped: ran longer than 200 ms"),
      record.message)
    place:publish("work", "{}")
    hosting.record(host, "the old one")
    hosting.stop(host)
  end)

  it("computes as long as it likes in turns that are short, and waits as long", function()
    place = hosting.place()
    local path = place:script("work", BEGINS .. [[
      iotops.on_start(function()
        local began = os.clock()
        repeat
          for _ = 1, 100000 do end
          iotops.sleep(0.001)
        until os.clock() - began > 0.6
        iotops.sleep(0.3)
        error("well done")
      end)
      iotops.on_telemetry("work", function() end)
    ]])
    local host = place:run({ path }, { args = { "--turn-limit", "0.1" } })
    hosting.record(host, "well done")
    hosting.stop(host)
  end)

  it("makes as many coroutines as it likes, as long as few of them live", function()
    place = hosting.place()
    local path = place:script("work", BEGINS .. [[
      local function yields() coroutine.yield(coroutine.running()) end
      local function waits() iotops.sleep(0) end
      iotops.on_start(function()
        local kept = {}
        for index = 1, 12 do
          kept[index] = coroutine.create(yields)
          coroutine.resume(kept[index])
        end
        for index = 1, 100 do
          coroutine.wrap(yields)() -- dropped
          coroutine.wrap(function() end)() -- ended
          assert(not coroutine.resume(coroutine.create(error)))
          coroutine.close(coroutine.create(yields))
          if index % 10 == 0 then coroutine.wrap(waits)() end
        end
        for index = 1, 12 do assert(coroutine.resume(kept[index])) end
        for index = 1, 20 do kept[index] = coroutine.create(yields) end
        local made = pcall(coroutine.create, yields)
        kept[21] = made
      end)
      iotops.on_telemetry("work", function()
        for _ = 1, 20 do iotops.spawn(waits) end
        for _ = 1, 20 do iotops.after(10, waits):cancel() end
        error("well done")
      end)
    ]])
    local host = place:run({ path }, { args = { "--coroutine-limit", "20" } })
    local record = hosting.record(host, "stopped: ")
    assert.truthy(record.message:find(
      "work.lua:19: stopped: needs more than the 20 coroutines that a script may have", 1, true),
      record.message)
    for times = 1, 3 do
      place:publish("work", "{}")
      hosting.record(host, "well done", times)
    end
    hosting.stop(host)
  end)

  it("has no limit where none is wanted", function()
    place = hosting.place()
    local path = place:script("work", BEGINS .. [[
      iotops.on_start(function()
        local began, text = os.clock(), ("x"):rep(70000000)
        repeat until os.clock() - began > 1.3
        error("well done " .. #text)
      end)
      iotops.on_telemetry("work", function() end)
    ]])
    local host = place:run({ path },
      { args = { "--turn-limit", "0", "--memory-limit", "0" } })
    hosting.record(host, "well done 70000000")
    hosting.stop(host)
  end)

  it("is named by options that are checked", function()
    for _, arguments in ipairs {
      { "--turn-limit", "soon" }, { "--load-limit", "-1" }, { "--memory-limit", "64M" },
      { "--coroutine-limit", "many" },
    } do
      local result = process.run { hosting.program, "run", arguments[1], arguments[2], "x.lua" }
      assert.equal(2, result.code)
      assert.truthy(result:text():find(arguments[1] .. " takes", 1, true))
    end
  end)
end)
