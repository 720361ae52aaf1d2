local process = require "process"
local hosting = require "hosting"

local BEGINS = [[
local iotops = require "iotops"
local kept = {}
]]

describe("a message that a script has in hand for too long", function()
  local place

  before_each(function() place = hosting.place { log_all = true } end)
  after_each(function() place:close() end)

  local function acknowledged(count)
    process.eventually(count .. " acknowledgements", function()
      return #select(2, place:acknowledgements()) >= count
    end)
  end

  local function counters(host)
    host:signal_with("sigusr1")
    return hosting.record(host, "counters")
  end

  it("is reported with the line that holds it, then acknowledged and counted", function()
    local path = place:script("work", BEGINS .. [[
      iotops.on_telemetry("work", function(_, message)
        kept[#kept + 1] = message:hold()
      end)
      iotops.on_telemetry("ask", function() error("was it mine? " .. tostring(kept[1]:ack())) end)
    ]])
    local host = place:run({ path }, { args = { "--held-age", "0.3" } })
    place:publish("work", "{}")
    local record = hosting.record(host, "held")
    assert.equal("warn", record.level)
    assert.truthy(record.message:find("work%.lua:4 is not acknowledged after 0%.%d+ s"),
      record.message)
    assert.same({ "work", 1, "work" }, { record.script, record.generation, record.topic })
    assert.equal("number", type(record.packet))
    record = hosting.record(host, "was held for longer than 0.6 s; it is acknowledged")
    assert.truthy(record.message:find("work%.lua:4"), record.message)
    acknowledged(1)
    place:publish("ask", "{}")
    hosting.record(host, "was it mine? false")
    assert.equal(1, counters(host).forgotten)
    -- Said once each.
    local said = 0
    for _, each in ipairs(hosting.records(host)) do
      if each.message:find("work.lua:4", 1, true) then said = said + 1 end
    end
    assert.equal(2, said)
    hosting.stop(host)
  end)

  it("is only reported when it is to be kept", function()
    local path = place:script("work", BEGINS .. [[
      iotops.on_telemetry("work", function(_, message)
        kept[#kept + 1] = message:hold()
        iotops.spawn(function()
          iotops.sleep(0.7)
          error("mine: " .. tostring(kept[1]:ack()))
        end)
      end)
    ]])
    local host = place:run({ path }, { args = { "--held-age", "0.2", "--forgotten", "keep" } })
    place:publish("work", "{}")
    hosting.record(host, "work.lua:4 is not acknowledged after")
    hosting.record(host, "mine: true")
    acknowledged(1)
    assert.equal(0, counters(host).forgotten)
    hosting.stop(host)
  end)

  it("is reported and its handler ended when that waits for ever", function()
    local path = place:script("work", BEGINS .. [[
      local never = iotops.event()
      iotops.on_telemetry("work/{n}", function(_, message)
        local closes <close> = setmetatable({}, { __close = function()
          iotops.spawn(error, "closed " .. message.tokens.n)
        end })
        if message.tokens.n == "1" then never:wait() end
        error("handled " .. message.tokens.n)
      end)
    ]])
    local host = place:run({ path }, { args = { "--held-age", "0.3" } })
    place:publish("work/1", "{}")
    place:publish("work/2", "{}")
    local record = hosting.record(host, "a message's handler has waited")
    assert.truthy(record.message:find("work%.lua:8 for 0%.%d+ s"), record.message)
    assert.equal("work/1", record.topic)
    record = hosting.record(host, "stopped: has waited for longer than 0.6 s")
    assert.truthy(record.message:find("the telemetry handler failed: .*work%.lua:8: "),
      record.message)
    assert.equal("work/1", record.topic)
    hosting.record(host, "closed 1")
    hosting.record(host, "handled 2")
    acknowledged(2)
    local counted = counters(host)
    assert.same({ 1, 2 }, { counted.forgotten, counted.handled })
    hosting.stop(host)
  end)

  it("makes room when its script fills the receive window", function()
    local path = place:script("work", BEGINS .. [[
      iotops.on_telemetry("work", function(_, message)
        kept[#kept + 1] = message:hold()
        if #kept == 25 then error("all came") end
      end)
    ]])
    local host = place:run({ path },
      { args = { "--held-age", "3", "--set", "receive_max=10", "--set", "max_unacked=10" } })
    local client = process.start { "mosquitto_pub", "-V", "5", "-q", "1", "-p",
      tostring(place.broker.port), "-t", "work", "-m", "{}", "--repeat", "25" }
    client:wait(10)
    local record = hosting.record(host, "of the 10 messages that may be unacknowledged")
    assert.truthy(record.message:find("it holds %d+ of the 10 .*work%.lua:4, %S+ s ago"),
      record.message)
    hosting.record(host, "work.lua:4 was among too many; it is acknowledged")
    hosting.record(host, "all came")
    local forgotten = counters(host).forgotten
    assert.is_true(forgotten >= 5, forgotten .. " were settled")
    hosting.stop(host)
  end)

  it("is nobody's concern where no limit is wanted", function()
    local path = place:script("work", BEGINS .. [[
      iotops.on_telemetry("work", function(_, message)
        kept[#kept + 1] = message:hold()
        iotops.after(0.3, function() error("mine: " .. tostring(kept[1]:ack())) end)
      end)
    ]])
    local host = place:run({ path }, { args = { "--held-age", "0", "--held-share", "0" } })
    place:publish("work", "{}")
    hosting.record(host, "mine: true")
    hosting.stop(host)
  end)

  it("has options that are checked", function()
    for _, arguments in ipairs {
      { "--held-age", "soon" }, { "--held-share", "101" }, { "--forgotten", "maybe" },
    } do
      local result = process.run { hosting.program, "run", arguments[1], arguments[2], "x.lua" }
      assert.equal(2, result.code)
      assert.truthy(result:text():find(arguments[1] .. " takes", 1, true))
    end
  end)
end)
