-- What a script's name keeps, with a clock of the test's own: by how much a
-- timer is late or early can be said exactly here.

local testing = require "iotops.testing"

describe("in a world of memory, a script's name", function()
  local world

  before_each(function() world = testing.world() end)
  after_each(function() world:close() end)

  -- A version that reports to the topic `seen`.
  local function version(name, text)
    return ([[
      local iotops = require "iotops"
      local function report(what) iotops.send("seen", { by = "%s", what = what }) end
      iotops.on_telemetry("work", function(value) report(value) end)
      %s
    ]]):format(name, text)
  end

  local function seen()
    local payload = world:expect("seen").payload
    return payload.by .. " " .. payload.what
  end

  it("keeps a timer's remaining time over reloads and a rollback", function()
    local every = 'iotops.every(%d, function() report "tick" end, { name = "flush" })'
    local script = world:run_text("kept", version("1", every:format(60)))
    world:advance(50)
    assert.is_true(script:reload(version("2", every:format(10))))
    world:advance(9.5)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("2 tick", seen()) -- after 60 s; its own period from there
    world:advance(9)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("2 tick", seen())
    assert.is_true(script:rollback())
    world:advance(9)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("1 tick", seen())
    world:advance(59)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("1 tick", seen())
  end)

  it("remembers that a timer has fired, until a handler starts it again", function()
    local once = [[
      iotops.after(5, function() report "once" end, { name = "once" })
      iotops.on_telemetry("again", function()
        iotops.after(5, function() report "again" end, { name = "once" })
      end)
    ]]
    local script = world:run_text("kept", version("1", once))
    world:advance(5)
    assert.equal("1 once", seen())
    assert.is_true(script:reload(version("2", once)))
    world:advance(60)
    world:expect_nothing "seen"
    world:publish("again", {})
    world:advance(3)
    assert.is_true(script:reload(version("3", once)))
    world:advance(1)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("3 once", seen()) -- what was left of the handler's
  end)

  it("forgets a timer that was cancelled", function()
    local cancelled = 'iotops.every(60, report, { name = "flush" }):cancel()'
    local script = world:run_text("kept", version("1", cancelled))
    world:advance(50)
    assert.is_true(script:reload(version("2",
      'iotops.every(60, function() report "tick" end, { name = "flush" })')))
    world:advance(59)
    world:expect_nothing "seen"
    world:advance(1)
    assert.equal("2 tick", seen())
  end)

  it("keeps counters over reloads that fail, reloads and a rollback", function()
    local counting = [[
      local parts = iotops.counter("parts_total")
      parts:add(%d)
      iotops.on_telemetry("part", function(n)
        parts:add(n)
        report(parts:get())
      end)
    ]]
    local script = world:run_text("kept", version("1", counting:format(0)))
    world:publish("part", 3)
    assert.equal("1 3", seen())
    assert.is_false(script:reload(version("2", counting:format(100) .. "error 'no'")))
    assert.is_true(script:reload(version("3", counting:format(10))))
    world:publish("part", 1)
    assert.equal("3 14", seen())
    assert.is_true(script:rollback())
    world:publish("part", 1)
    assert.equal("1 15", seen())
  end)
end)
