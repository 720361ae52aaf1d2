local process = require "process"
local hosting = require "hosting"
local RUNAWAYS = require "runaways"
local uv = require "luv"

local BEGINS = [[
local iotops = require "iotops"
]]

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
