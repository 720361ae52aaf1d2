local process = require "process"
local hosting = require "hosting"
local broker = require "broker"

-- A script that notes what it handles; VERSION tells its generations apart.
local function script_text(version, extra)
  return ([[
    local iotops = require "iotops"
    local notes = assert(io.open("FOLDER/done", "a"))
    notes:setvbuf("line")
    iotops.on_telemetry("work", function(value)
      notes:write(tostring(value.n), " %s\n")
    end)
    %s
  ]]):format(version, extra or "")
end

describe("reloading a script", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("happens when the file changes, and not when it is written anew", function()
    place = hosting.place()
    local script = place:script("work", script_text("a"))
    local host = place:run { script }
    place:script("work", script_text("a"))
    process.pass(0.3)
    place:script("work", script_text("b"))
    local record = hosting.record(host, "reloaded")
    assert.equal(2, record.generation)
    place:publish("work", '{"n":1}')
    assert.same({ "1 b" }, place:await_notes("done", 1))
  end)

  it("changes nothing when the script cannot be loaded", function()
    place = hosting.place()
    local script = place:script("work", script_text("a"))
    local host = place:run { script }
    place:script("work", "this is not Lua\n")
    local record = hosting.record(host, "cannot reload")
    assert.equal("error", record.level)
    assert.truthy(record.message:find("still serving generation 1", 1, true))
    assert.truthy(record.message:find("work.lua:1:", 1, true))
    place:publish("work", '{"n":1}')
    assert.same({ "1 a" }, place:await_notes("done", 1))
    place:script("work", "error('not today')\n")
    record = hosting.record(host, "not today")
    assert.truthy(record.message:find("still serving generation 1", 1, true))
    place:publish("work", '{"n":2}')
    assert.same({ "1 a", "2 a" }, place:await_notes("done", 2))
    place:script("work", script_text("b"))
    hosting.record(host, "reloaded")
    place:publish("work", '{"n":3}')
    assert.same({ "1 a", "2 a", "3 b" }, place:await_notes("done", 3))
  end)

  it("lets the old version finish what it has begun", function()
    place = hosting.place()
    local text = [[
      local iotops = require "iotops"
      local function note(text)
        local file = assert(io.open("FOLDER/done", "a"))
        file:write(text, "\n")
        file:close()
      end
      iotops.on_telemetry("work", function(value)
        note("begun " .. value.n .. " %s")
        iotops.sleep(0.5)
        note("ended " .. value.n .. " %s")
      end)
    ]]
    local script = place:script("work", (text:gsub("%%s", "a")))
    local host = place:run { script }
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    place:publish("work", '{"n":2}')
    place:script("work", (text:gsub("%%s", "b")))
    hosting.record(host, "reloaded")
    assert.same({ "begun 1 a", "ended 1 a", "begun 2 b", "ended 2 b" },
      place:await_notes("done", 4))
  end)

  it("subscribes to what is new and drops what is gone", function()
    place = hosting.place()
    local script = place:script("work", script_text("a"))
    local host = place:run { script }
    place:script("work", (script_text("b"):gsub('"work"', '"other/{name}"')))
    hosting.record(host, "reloaded")
    process.pass(0.2)
    place:publish("work", '{"n":1}')
    place:publish("other/x", '{"n":2}')
    assert.same({ "2 b" }, place:await_notes("done", 1))
    process.pass(0.2)
    assert.same({ "2 b" }, place:noted("done"))
  end)

  it("follows the symlink swap of a mounted ConfigMap", function()
    place = hosting.place()
    local function version(name, text)
      os.execute(("mkdir '%s/..%s'"):format(place.folder, name))
      hosting.write(("%s/..%s/work.lua"):format(place.folder, name),
        (script_text(text):gsub("FOLDER", place.folder)))
      os.execute(("cd '%s' && ln -s ..%s ..data_tmp && mv -T ..data_tmp ..data"):format(
        place.folder, name))
    end
    version("1", "a")
    os.execute(("cd '%s' && ln -s ..data/work.lua work.lua"):format(place.folder))
    local host = place:run { place.folder }
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    version("2", "b")
    hosting.record(host, "reloaded")
    place:publish("work", '{"n":2}')
    assert.same({ "1 a", "2 b" }, place:await_notes("done", 2))
  end)

  it("notices a change of a module that the script required", function()
    place = hosting.place()
    os.execute("mkdir " .. place.folder .. "/lib")
    local module = place.folder .. "/lib/limits.lua"
    hosting.write(module, 'return { version = "a" }\n')
    local script = place:script("work", [[
      local iotops = require "iotops"
      local limits = require "lib.limits"
      iotops.on_telemetry("work", function(value)
        local notes = assert(io.open("FOLDER/done", "a"))
        notes:write(value.n, " ", limits.version, "\n")
        notes:close()
      end)
    ]])
    local host = place:run { script }
    hosting.write(module, 'return { version = "b" }\n')
    hosting.record(host, "reloaded")
    place:publish("work", '{"n":1}')
    assert.same({ "1 b" }, place:await_notes("done", 1))
  end)

  it("takes up scripts that appear in a folder and drops those that go", function()
    place = hosting.place()
    place:script("one", script_text("one"))
    local host = place:run { place.folder }
    place:script("two", (script_text("two"):gsub('"work"', '"more"')))
    hosting.record(host, "subscribed: ", 2)
    place:publish("more", '{"n":1}')
    place:await_notes("done", 1)
    os.remove(place.folder .. "/two.lua")
    hosting.record(host, "the script stops")
    process.pass(0.2)
    place:publish("more", '{"n":2}')
    place:publish("work", '{"n":3}')
    assert.same({ "1 two", "3 one" }, place:await_notes("done", 2))
  end)

  it("keeps serving a script whose file is gone", function()
    place = hosting.place()
    local script = place:script("work", script_text("a"))
    local host = place:run { script }
    os.remove(script)
    hosting.record(host, "is gone; still serving generation 1")
    place:publish("work", '{"n":1}')
    assert.same({ "1 a" }, place:await_notes("done", 1))
    place:script("work", script_text("b"))
    hosting.record(host, "reloaded")
  end)

  it("keeps serving, and says so once, what was in a folder that is gone", function()
    place = hosting.place()
    place:script("work", script_text("a"))
    local host = place:run { place.folder }
    os.execute(("mv '%s' '%s.away'"):format(place.folder, place.folder))
    host:signal_with "sighup"
    hosting.record(host, "cannot be read; what was in it serves on")
    host:signal_with "sighup"
    hosting.record(host, "SIGHUP", 2)
    os.execute(("mv '%s.away' '%s'"):format(place.folder, place.folder))
    place:publish("work", '{"n":1}')
    assert.same({ "1 a" }, place:await_notes("done", 1))
    local _, times = host:text():gsub("cannot be read", "")
    assert.equal(1, times)
  end)

  it("waits for a grant no longer than --grant-timeout, and tries again when connected", function()
    local kept = process.folder()
    place = hosting.place { folder = kept }
    local script = place:script("work", script_text("a"))
    local host = place:run({ script }, { args = { "--grant-timeout", "0.5" } })
    local port = place.broker.port
    place.broker:stop()
    place:script("work", (script_text("b"):gsub('"work"', '"other"')))
    local record = hosting.record(host, "broker unreachable")
    assert.truthy(record.message:find("still serving generation 1", 1, true))
    -- What is subscribed to already needs no broker.
    place:script("work", script_text("c"))
    hosting.record(host, "reloaded")
    place:script("work", (script_text("d"):gsub('"work"', '"other"')))
    hosting.record(host, "broker unreachable", 2)
    place.broker = broker.start { port = port, folder = kept }
    hosting.record(host, "reloaded", 2, 40)
    process.pass(0.2)
    place:publish("other", '{"n":1}')
    assert.same({ "1 d" }, place:await_notes("done", 1))
    hosting.stop(host)
    os.execute("rm -rf " .. kept)
  end)
end)
