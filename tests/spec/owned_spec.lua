local process = require "process"
local hosting = require "hosting"

-- Every script of this file begins with this; V stands for its version.
local HEAD = [[
  local iotops = require "iotops"
  local function note(...)
    local file = assert(io.open("FOLDER/done", "a"))
    file:write(table.concat({ ... }, " "), "\n")
    file:close()
  end
]]

describe("what a script owns", function()
  local place, host

  before_each(function() place = hosting.place { log_all = true } end)
  after_each(function()
    if place then place:close() end
    place = nil
  end)

  -- Writes a version of the script; from the second on, waits until it serves.
  local reloads
  local function version(name, text)
    local path = place:script("work", (HEAD .. text):gsub("%f[%w]V%f[%W]", name))
    if host then
      reloads = reloads + 1
      hosting.record(host, "reloaded: ", reloads)
    end
    return path
  end

  local function start(text, options)
    host, reloads = nil, 0
    local path = version("1", text)
    host = place:run({ path }, options)
    return path
  end


  describe("a named timer", function()
    it("goes on with the time that was left, and with its new period from there", function()
      start [[
        local began = iotops.now()
        iotops.on_telemetry("idle", function() end)
        iotops.every(0.6, function() note("V") end, { name = "flush" })
      ]]
      local began = os.time()
      process.pass(0.3)
      -- Were the period taken from here on, the first tick would never come.
      version("2", [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(300, function() note("V") end, { name = "flush" })
      ]])
      assert.same({ "2" }, place:await_notes("done", 1, 2))
      assert.is_true(os.time() - began < 5)
      version("3", [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(0.05, function() note("V") end, { name = "flush" })
      ]])
      process.pass(0.2)
      assert.same({ "2" }, place:noted("done"))
    end)

    it("that fires once does so once in all versions", function()
      start [[
        iotops.on_telemetry("idle", function() end)
        iotops.after(0.05, function() note("V", "first") end, { name = "first" })
        iotops.after(0.5, function() note("V", "second") end, { name = "second" })
      ]]
      place:await_notes("done", 1, 2)
      version("2", [[
        iotops.on_telemetry("idle", function() end)
        iotops.after(0.01, function() note("V", "first") end, { name = "first" })
        iotops.on_start(function()
          iotops.after(0.5, function() note("V", "second") end, { name = "second" })
          note(tostring(iotops.after(0.01, error, { name = "first" }):cancel()))
        end)
      ]])
      assert.same({ "1 first", "false", "2 second" }, place:await_notes("done", 3, 2))
    end)

    it("that a version does not declare does not run, and is there for the one after", function()
      start [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(0.4, function() note("V") end, { name = "flush" })
      ]]
      version("2", [[ iotops.on_telemetry("idle", function() end) ]])
      assert.truthy(hosting.record(host, "the timer 'flush' does not run any more"))
      process.pass(0.5)
      assert.same({}, place:noted("done"))
      version("3", [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(300, function() note("V") end, { name = "flush" })
      ]])
      assert.same({ "3" }, place:await_notes("done", 1, 2)) -- overdue
    end)

    it("goes on in the old version when a new one cannot be loaded", function()
      start [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(0.3, function() note("V") end, { name = "flush" })
      ]]
      place:script("work", HEAD .. [[
        iotops.every(300, function() note("2") end, { name = "flush" })
        error "not today"
      ]])
      hosting.record(host, "cannot reload")
      assert.same({ "1", "1" }, place:await_notes("done", 2, 2))
    end)

    it("has a name of its own", function()
      start [[
        iotops.on_telemetry("idle", function() end)
        iotops.every(1, function() end, { name = "flush" })
        note(select(2, pcall(iotops.after, 1, print, { name = "flush" })))
        note(select(2, pcall(iotops.after, 1, print, { name = ("x"):rep(101) })))
      ]]
      local notes = place:await_notes("done", 2)
      assert.match("work.lua:%d+: there is a timer with the name 'flush' already", notes[1])
      assert.match("1 to 100 bytes", notes[2])
    end)
  end)

  describe("a counter", function()
    local TEXT = [[
      local parts = iotops.counter("parts_total", "parts made")
      local heat = iotops.gauge("heat")
      note("V", parts:get(), heat:get())
      iotops.on_telemetry("work", function(value)
        parts:add(value.n)
        heat:set(-value.n / 2)
        note("V", parts:get(), heat:get())
      end)
    ]]

    it("survives reloads, is not touched by one that fails, and is in the log", function()
      start(TEXT)
      place:publish("work", '{"n":5}')
      place:await_notes("done", 2)
      place:script("work", HEAD .. [[ iotops.counter("parts_total"):add(100) error "no" ]])
      hosting.record(host, "cannot reload")
      version("2", TEXT)
      place:publish("work", '{"n":2}')
      assert.same({ "1 0 0", "1 5 -2.5", "2 5 -2.5", "2 7 -1" }, place:await_notes("done", 4))
      version("3", [[
        iotops.counter("parts_total"):add()
        iotops.on_telemetry("work", function() end)
      ]])
      host:signal_with("sigusr1")
      local record = hosting.record(host, "own counters")
      assert.equal("work", record.script)
      assert.equal(8, tonumber(record["own.parts_total"]))
      assert.equal(-1, tonumber(record["own.heat"]))
    end)

    it("has a checked name, one kind, and a bounded number of others beside it", function()
      start [[
        iotops.on_telemetry("idle", function() end)
        note(select(2, pcall(iotops.counter, "parts-total")))
        iotops.counter("one")
        note(select(2, pcall(iotops.gauge, "one")))
        note(select(2, pcall(iotops.counter("one").add, iotops.counter("one"), -1)))
        for i = 2, 1000 do iotops.counter("c" .. i) end
        note(select(2, pcall(iotops.counter, "many")))
      ]]
      local notes = place:await_notes("done", 4)
      assert.match("work.lua:%d+: counter: a name of letters, digits and _ expected", notes[1])
      assert.match("gauge: one is a counter already", notes[2])
      assert.match("a counter does not go down", notes[3])
      assert.match("at most 1000 counters and gauges", notes[4])
    end)
  end)

  -- A caller that sends a request twice if it likes, and sees every answer.
  local answers
  local function listen()
    answers = process.start { "stdbuf", "-oL", "mosquitto_sub", "-d", "-V", "5", "-q", "1", "-p",
      tostring(place.broker.port), "-t", "answers", "-F", "answer %D %P |%p" }
    answers:line "Subscribed"
  end

  local function ask(number)
    place:publish("work", ('{"n":%d}'):format(number), "-D", "publish", "response-topic", "answers",
      "-D", "publish", "correlation-data", ("%016d"):format(number),
      "-D", "publish", "message-expiry-interval", "30")
  end

  -- The status and the payload of the next answer to come.
  local function answer(number)
    local line = answers:line(("answer %016d"):format(number))
    return line:match "__stat:(%d+)", line:match "|(.*)$"
  end

  local DRAIN = { args = { "--drain", "0.4" } }

  describe("a request that the drain time cuts", function()
    -- Hangs for n = 1 in the first version.
    local function handler(options)
      return ([[
        iotops.on_command("work", { %s }, function(request)
          note("V", request.n)
          if V == 1 and request.n == 1 then
            iotops.sleep(60)
          end
          return { version = V }
        end)
      ]]):format(options)
    end

    it("and that has not begun is the next version's", function()
      start(handler "concurrency = 1", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      ask(2)
      version("2", handler "concurrency = 1")
      assert.equal("500", (answer(1)))
      assert.same({ "200", '{"version":2}' }, { answer(2) })
      assert.same({ "1 1", "2 2" }, place:noted("done"))
    end)

    it("and that has not begun is the next version's, with other options too", function()
      start(handler "concurrency = 1", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      ask(2)
      version("2", handler "concurrency = 2")
      assert.same({ "200", '{"version":2}' }, { answer(2) })
      assert.equal("500", (answer(1)))
      assert.same({ "1 1", "2 2" }, place:noted("done"))
    end)

    it("and that has not begun is answered when the next version has no such command", function()
      start(handler "concurrency = 1", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      ask(2)
      version("2", [[ iotops.on_telemetry("idle", function() end) ]])
      for number = 1, 2 do assert.equal("500", (answer(number))) end
      assert.same({ "1 1" }, place:noted("done"))
    end)

    it("begins again, or not at all, in a version that the state is handed to, too", function()
      local function both(options)
        return 'iotops.handoff { save = function() return {} end, restore = function() end }\n'
          .. handler(options)
      end
      start(both "is_idempotent = true, concurrency = 1", { args = { "--handoff-timeout", "0.2" } })
      listen()
      ask(1)
      place:await_notes("done", 1)
      ask(2)
      version("2", both "is_idempotent = true, concurrency = 1")
      for number = 1, 2 do
        assert.same({ "200", '{"version":2}' }, { answer(number) })
      end
      version("3", (both("concurrency = 1"):gsub("V == 1 and request.n == 1", "request.n == 3")))
      ask(1) -- answered by what the second version has answered
      assert.same({ "200", '{"version":2}' }, { answer(1) })
      ask(3)
      place:await_notes("done", 4)
      ask(4)
      version("4", both("concurrency = 2"))
      assert.equal("500", (answer(3)))
      assert.same({ "1 1", "2 1", "2 2", "3 3", "4 4" }, place:await_notes("done", 5))
    end)

    it("begins again in the next version if the command is idempotent", function()
      start(handler "is_idempotent = true", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      version("2", handler "is_idempotent = true")
      assert.same({ "200", '{"version":2}' }, { answer(1) })
      assert.same({ "1 1", "2 1" }, place:noted("done"))
      assert.truthy(hosting.record(host, "the command is idempotent: it begins again"))
      ask(1)
      assert.same({ "200", '{"version":2}' }, { answer(1) })
      assert.same({ "1 1", "2 1" }, place:noted("done"))
    end)

    it("begins again with other options too, as long as it is idempotent there", function()
      local text = handler "is_idempotent = true, concurrency = 5"
      start(handler "is_idempotent = true", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      version("2", text)
      assert.same({ "200", '{"version":2}' }, { answer(1) })
      version("3", (text:gsub("V == 1 and request.n == 1", "request.n == 3")))
      ask(3)
      place:await_notes("done", 3)
      version("4", handler "")
      assert.equal("500", (answer(3)))
      assert.same({ "1 1", "2 1", "3 3" }, place:noted("done"))
    end)

    it("is answered with an execution error otherwise, and never runs twice", function()
      start(handler "", DRAIN)
      listen()
      ask(1)
      place:await_notes("done", 1)
      version("2", handler "")
      local line = answers:line "answer 0000000000000001"
      assert.match("__stat:500", line)
      assert.match("__apErr:true", line)
      local record = hosting.record(host, "the command handler has not ended")
      assert.equal("error", record.level)
      assert.match("it is given up at .*work.lua:%d+$", record.message)
      assert.equal("work", record.topic)
      ask(1)
      assert.equal("500", (answer(1)))
      assert.same({ "1 1" }, place:noted("done"))
    end)
  end)

  it("tells of telemetry that the drain time cuts, which is handled then", function()
    start([[
      iotops.on_telemetry("work", function(value)
        note("V", value.n)
        if V == 1 then iotops.sleep(60) end
      end)
    ]], DRAIN)
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    place:publish("work", '{"n":2}')
    version("2", [[ iotops.on_telemetry("work", function(value) note("V", value.n) end) ]])
    assert.same({ "1 1", "2 2" }, place:await_notes("done", 2))
    host:signal_with("sigusr1")
    assert.equal(1, tonumber(hosting.record(host, "counters").cut))
    local record = hosting.record(host, "the telemetry handler has not ended")
    assert.equal("error", record.level)
    assert.match("it is given up at .*work.lua:%d+$", record.message)
    assert.equal("work", record.topic)
    assert.truthy(record.packet)
    process.eventually("both are acknowledged", function()
      local _, acknowledged = place:acknowledgements("work")
      return #acknowledged == 2
    end)
  end)

  it("hands telemetry that waits on, in order, to a version with other options", function()
    start([[
      iotops.on_telemetry("work", function(value)
        note("V", value.n)
        iotops.sleep(60)
      end)
    ]], DRAIN)
    for n = 1, 3 do place:publish("work", ('{"n":%d}'):format(n)) end
    place:await_notes("done", 1)
    process.pass(0.1)
    version("2", [[
      iotops.on_telemetry("work", { concurrency = 2 }, function(value) note("V", value.n) end)
    ]])
    place:publish("work", '{"n":4}')
    assert.same({ "1 1", "2 2", "2 3", "2 4" }, place:await_notes("done", 4))
    process.eventually("all are acknowledged", function()
      local _, acknowledged = place:acknowledgements("work")
      return #acknowledged == 4
    end)
  end)

  describe("a request that comes once more", function()
    local function handler(options)
      return ([[
        iotops.on_command("work", { %s }, function(request)
          note("V", request.n)
          return { version = V }
        end)
      ]]):format(options)
    end

    it("gets the answer of the version that it was executed by", function()
      start(handler "")
      listen()
      ask(1)
      assert.same({ "200", '{"version":1}' }, { answer(1) })
      version("2", handler "")
      ask(1)
      assert.same({ "200", '{"version":1}' }, { answer(1) })
      ask(2)
      assert.same({ "200", '{"version":2}' }, { answer(2) })
      version("3", handler "concurrency = 3, execution_timeout = 5")
      for number = 1, 2 do
        ask(number)
        assert.same({ "200", ('{"version":%d}'):format(number) }, { answer(number) })
      end
      ask(3)
      assert.same({ "200", '{"version":3}' }, { answer(3) })
      assert.same({ "1 1", "2 2", "3 3" }, place:noted("done"))
    end)
  end)

  it("gives the result of a call in hand to the version that made it", function()
    local other = place:script("other", [[
      local iotops = require "iotops"
      iotops.on_command("slow", function(request)
        iotops.sleep(0.4)
        return { n = request.n + 1 }
      end)
    ]])
    local text = [[
      iotops.on_telemetry("work", function(value)
        note("V asks", value.n)
        note("V has", iotops.invoke("slow", { n = value.n }).n)
      end)
    ]]
    host, reloads = nil, 0
    host = place:run { version("1", text), other }
    hosting.record(host, "subscribed: ", 2)
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    version("2", text)
    place:publish("work", '{"n":10}')
    assert.same({ "1 asks 1", "1 has 2", "2 asks 10", "2 has 11" }, place:await_notes("done", 4))
  end)
end)
