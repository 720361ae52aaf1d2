local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"

-- Sums what it receives; `handler` is the body of the handler.
local function text(version, handler)
  return ([[
    local iotops = require "iotops"
    local sum = 0
    iotops.handoff {
      version = 1,
      save = function() return { sum = sum } end,
      restore = function(data) sum = data.sum end,
    }
    iotops.on_telemetry("work", function(value)
      %s
      sum = sum + value.n
      local file = assert(io.open("FOLDER/done", "a"))
      file:write(value.n, " ", sum, " %s\n")
      file:close()
    end)
  ]]):format(handler or "", version)
end

describe("the probation of a new version", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  local function publish(...)
    for _, n in ipairs { ... } do place:publish("work", ('{"n":%d}'):format(n)) end
  end

  local function ctl(...)
    local socket = place.folder .. "/control"
    return process.run { hosting.program, "ctl", "--socket", socket, "--json", ... }
  end

  -- What `iotops ctl status` says of the only script.
  local function status()
    local result = ctl "status"
    assert(result.code == 0, result:text())
    local said = cjson.decode(table.concat(result.out))
    return (said.scripts or { said })[1]
  end

  it("ends with the last good version and its state when every message fails", function()
    place = hosting.place()
    local script = place:script("work", text "good")
    local host = place:run({ script }, { args = { "--control", place.folder .. "/control" } })
    local hash = status().hash
    publish(1, 2)
    place:await_notes("done", 2)
    place:script("work", text("bad", "sum = -1000 error 'bad luck'"))
    hosting.record(host, "reloaded")
    publish(3, 4, 5, 6, 7)
    local record = hosting.record(host, "5 of its first 5 calls failed")
    assert.equal("error", record.level)
    assert.truthy(record.message:find("going back to generation 1", 1, true))
    assert.equal(3, tonumber(hosting.record(host, "rolled back").generation))
    publish(8)
    assert.same({ "1 1 good", "2 3 good", "8 11 good" }, place:await_notes("done", 3))
    local told = status()
    assert.equal("rolled back", told.state)
    assert.equal("rolled back", told.last_reload.outcome)
    assert.truthy(told.last_reload.message:find("5 of its first 5 calls failed", 1, true))
    assert.equal(hash, told.hash)
    assert.equal(3, told.generation)
    -- What has failed is not taken up again, not by SIGHUP either.
    host:signal_with("sighup")
    process.pass(0.2)
    publish(9)
    assert.equal("9 20 good", place:await_notes("done", 4)[4])
    -- A version that has changed is.
    place:script("work", text "mended")
    hosting.record(host, "reloaded", 2)
    publish(10)
    assert.equal("10 30 mended", place:await_notes("done", 5)[5])
    hosting.stop(host)
    local counters = hosting.record(host, "counters")
    assert.equal(1, tonumber(counters.rollbacks))
    assert.equal(5, tonumber(counters.errors))
  end)

  it("counts turns that the guard has stopped, by an option as few as one", function()
    place = hosting.place()
    local script = place:script("work", text "good")
    local host = place:run({ script },
      { args = { "--turn-limit", "0.1", "--probation-errors", "1" } })
    place:script("work", text("bad", "while true do end"))
    hosting.record(host, "reloaded")
    publish(1)
    hosting.record(host, "1 of its first 1 call failed")
    hosting.record(host, "rolled back")
    publish(2)
    assert.same({ "2 2 good" }, place:await_notes("done", 1))
    hosting.stop(host)
  end)

  it("is passed by a version that fails now and then", function()
    place = hosting.place()
    local script = place:script("work", text "good")
    local host = place:run({ script }, { args = { "--probation-errors", "2" } })
    place:script("work", text("new", "if value.n % 2 == 0 then error 'even' end"))
    hosting.record(host, "reloaded")
    publish(1, 2, 3, 4, 5, 6, 7)
    assert.same({ "1 1 new", "3 4 new", "5 9 new", "7 16 new" }, place:await_notes("done", 4))
    process.pass(0.1)
    assert.is_nil(host:text():find("going back", 1, true))
    hosting.stop(host)
  end)

  it("is over after --probation seconds, and is not at all with 0", function()
    for _, case in ipairs { { "0.2", 0.4 }, { "0", 0.05 } } do
      place = hosting.place()
      local script = place:script("work", text "good")
      local host = place:run({ script },
        { args = { "--probation", case[1], "--probation-errors", "1" } })
      place:script("work", text("bad", "error 'late'"))
      hosting.record(host, "reloaded")
      process.pass(case[2])
      publish(1)
      hosting.record(host, "late")
      process.pass(0.1)
      assert.is_nil(host:text():find("going back", 1, true))
      hosting.stop(host)
      place:close()
    end
    place = nil
  end)

  it("or somebody who says so goes back: with the state of now, if it can be read", function()
    place = hosting.place()
    local script = place:script("work", text "first")
    local host = place:run({ script }, { args = { "--control", place.folder .. "/control" } })
    assert.is_true(ctl("rollback", "work").code ~= 0)
    publish(1)
    place:await_notes("done", 1)
    place:script("work", text "second")
    hosting.record(host, "reloaded")
    publish(2)
    place:await_notes("done", 2)
    local result = ctl("rollback", "work")
    assert.equal(0, result.code, result:text())
    publish(3)
    -- The second layout is not known to the first version.
    place:await_notes("done", 3)
    place:script("work", (text "third":gsub("version = 1", "version = 2")))
    hosting.record(host, "reloaded", 2)
    publish(4)
    place:await_notes("done", 4)
    assert.equal(0, ctl("rollback", "work").code)
    publish(5)
    assert.same({ "1 1 first", "2 3 second", "3 6 first", "4 10 third", "5 11 first" },
      place:await_notes("done", 5))
    hosting.stop(host)
  end)

  it("is named by options that are checked", function()
    for _, arguments in ipairs {
      { "--handoff-timeout", "-1" }, { "--probation", "soon" }, { "--probation-errors", "0" },
    } do
      local result = process.run { hosting.program, "run", arguments[1], arguments[2], "x.lua" }
      assert.equal(2, result.code)
      assert.truthy(result:text():find(arguments[1] .. " takes", 1, true))
    end
  end)

  it("brings modules of the script's folder back, too, from memory", function()
    place = hosting.place()
    os.execute("mkdir " .. place.folder .. "/lib")
    local module, later = place.folder .. "/lib/way.lua", place.folder .. "/lib/later.lua"
    local function main(version)
      return text(version, [[
        value.n = require("lib.way")(value.n)
        value.n = require("lib.later")(value.n)
      ]]):gsub("local sum", "require 'lib.way'\nlocal sum")
    end
    hosting.write(module, "return function(n) return n * 10 end\n")
    hosting.write(later, "return function(n) return n end\n")
    local script = place:script("work", main "good")
    local host = place:run({ script }, { args = { "--probation-errors", "1" } })
    publish(1)
    place:await_notes("done", 1)
    -- The main file stays, the module fails; and the other one goes.
    hosting.write(module, "return function() error 'lost the way' end\n")
    hosting.record(host, "reloaded")
    os.remove(later)
    publish(2)
    hosting.record(host, "rolled back")
    publish(3)
    assert.same({ "10 10 good", "30 40 good" }, place:await_notes("done", 2))
    -- The module alone is mended.
    hosting.write(later, "return function(n) return n end\n")
    hosting.write(module, "return function(n) return n * 100 end\n")
    hosting.record(host, "reloaded", 2)
    publish(4)
    assert.same("400 440 good", place:await_notes("done", 3)[3])
    hosting.stop(host)
  end)

  it("subscribes again to what the bad version had dropped", function()
    place = hosting.place()
    local script = place:script("work", text "good")
    local host = place:run({ script }, { args = { "--probation-errors", "1" } })
    publish(1)
    place:await_notes("done", 1)
    place:script("work", (text("bad", "error 'wrong'"):gsub('"work"', '"other"')))
    hosting.record(host, "reloaded")
    place:publish("other", '{"n":1}')
    hosting.record(host, "rolled back")
    publish(2)
    assert.same({ "1 1 good", "2 3 good" }, place:await_notes("done", 2))
    hosting.stop(host)
  end)

  it("is not for a script whose command another answers: it waits until it is free", function()
    place = hosting.place()
    local function answering(rest)
      return ([[
        local iotops = require "iotops"
        iotops.on_command("fans/{fan}/stop", %s function() return { by = "FOLDER" } end)
      ]]):format(rest or "")
    end
    place:script("first", answering())
    local host = place:run { place.folder }
    place:script("second", answering())
    local record = hosting.record(host, "the script first answers the command fans/+/stop already")
    assert.equal("second", record.script)
    assert.equal("error", record.level)
    -- The first gives it up: now the second has it.
    place:script("first", (answering():gsub("fans", "pumps")))
    hosting.record(host, "reloaded")
    local function loaded(name)
      process.eventually(name .. " is loaded", function()
        for _, each in ipairs(hosting.records(host)) do
          if each.script == name and each.message == "loaded: 1 endpoint" then return true end
        end
      end)
    end
    loaded "second"
    place:script("third", answering '{ service_group_id = "fans" },')
    loaded "third"
    hosting.stop(host)
  end)
end)
