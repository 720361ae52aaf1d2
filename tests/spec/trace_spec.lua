local cjson = require "cjson"
local process = require "process"
local hosting = require "hosting"

local ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
local PARENT = ("00-%s-%s-01"):format(ID, SPAN)

-- What arrives at "out", "later" and "sink" is noted with its user data.
local SINK = [[
  local iotops = require "iotops"
  local notes = assert(io.open("FOLDER/seen", "a"))
  notes:setvbuf("line")
  local function note(kind, value, data)
    notes:write(iotops.json.encode { kind = kind, value = value, data = data }, "\n")
  end
  iotops.on_telemetry("out/{kind}", function(value, message)
    note(message.tokens.kind, value, message.user_data)
  end)
  iotops.on_command("sink", function(value, request)
    note("command", value, request.user_data)
    return {}
  end)
]]

local WORK = [[
  local iotops = require "iotops"
  iotops.on_telemetry("work", function(value)
    iotops.log.info("working")
    iotops.send("out/first", value)
    iotops.sleep(0.01)
    iotops.send("out/second", value, { user_data = { { "own", "1" } } })
    iotops.spawn(function()
      iotops.spawn(function() iotops.send("out/spawned", value) end)
    end)
    iotops.after(0.01, function() iotops.send("out/timer", value) end)
    iotops.send("out/other", value, { user_data = { traceparent = "mine" } })
    iotops.send("out/state", value, { user_data = { tracestate = "b=2" } })
    iotops.send("out/told", { iotops.traceparent() })
    iotops.invoke("sink", value)
  end)
]]

describe("the trace of a message", function()
  local place

  before_each(function() place = hosting.place() end)

  after_each(function() place:close() end)

  local function run(args)
    return place:run({ place:script("sink", SINK), place:script("work", WORK) }, { args = args })
  end

  -- Notes by kind: user data by name; what is there twice is an error.
  local function seen(count)
    local kinds = {}
    for _, line in ipairs(place:await_notes("seen", count)) do
      local note = cjson.decode(line)
      local data = { value = note.value }
      for _, pair in ipairs(note.data) do
        assert.is_nil(data[pair[1]], line)
        data[pair[1]] = pair[2]
      end
      kinds[note.kind] = data
    end
    return kinds
  end

  local function parent_of(traceparent)
    local id, span, flags = (traceparent or ""):match("^00%-(%x+)%-(%x+)%-(%x+)$")
    assert.equal(ID, id, traceparent)
    assert.equal(16, #span)
    return span, flags
  end

  it("goes on in all that its handler sends, spawns and invokes", function()
    local host = run()
    place:publish("work", "{}", "-D", "publish", "user-property", "traceparent", PARENT,
      "-D", "publish", "user-property", "tracestate", "a=1,c@d=2")
    local kinds = seen(8)
    local span, flags = parent_of(kinds.first.traceparent)
    assert.not_equal(SPAN, span)
    assert.equal("01", flags)
    for _, kind in ipairs { "first", "second", "spawned", "command" } do
      assert.equal(span, (parent_of(kinds[kind].traceparent)), kind)
      assert.equal("a=1,c@d=2", kinds[kind].tracestate, kind)
    end
    assert.equal("1", kinds.second.own)
    assert.equal("mine", kinds.other.traceparent)
    assert.is_nil(kinds.other.tracestate)
    assert.equal(span, (parent_of(kinds.state.traceparent)))
    assert.equal("b=2", kinds.state.tracestate)
    assert.same({ kinds.first.traceparent, "a=1,c@d=2" }, kinds.told.value)
    assert.is_nil(kinds.timer.traceparent)
    assert.is_nil(kinds.timer.tracestate)
    local record = hosting.record(host, "working")
    assert.same({ ID, span }, { record.trace_id, record.span_id })
    hosting.stop(host)
  end)

  it("comes back with the response of a command", function()
    place:script("ask", [[
      local iotops = require "iotops"
      local notes = assert(io.open("FOLDER/seen", "a"))
      notes:setvbuf("line")
      iotops.on_start(function()
        for _, data in ipairs { { traceparent = "]] .. PARENT .. [[" }, {} } do
          local _, response = iotops.invoke("answer", {}, { user_data = data })
          notes:write(iotops.json.encode { kind = data.traceparent and "traced" or "plain",
            data = iotops.json.array(response.user_data) }, "\n")
        end
      end)
    ]])
    local answer = place:script("answer", [[
      local iotops = require "iotops"
      iotops.on_command("answer", function(_, request)
        if request.user_data.traceparent then
          return {}, { user_data = { own = "1" }, application_error = { code = "odd" } }
        end
        return {}
      end)
    ]])
    local host = place:run { answer, place.folder .. "/ask.lua" }
    local kinds = seen(2)
    local span = parent_of(kinds.traced.traceparent)
    assert.not_equal(SPAN, span)
    assert.equal("1", kinds.traced.own)
    assert.equal("odd", kinds.traced.AppErrCode)
    assert.same({}, kinds.plain)
    hosting.stop(host)
  end)

  it("is none when there is none, when it is malformed, or there twice", function()
    local host = run()
    local names = { "-D", "publish", "user-property", "traceparent" }
    local function publish(number, ...)
      local arguments = {}
      for _, value in ipairs { ... } do
        table.move(names, 1, 4, #arguments + 1, arguments)
        arguments[#arguments + 1] = value
      end
      place:publish("work", tostring(number), table.unpack(arguments))
    end
    local malformed = {
      "", "00", PARENT .. "-00", PARENT:upper(), "ff" .. PARENT:sub(3), PARENT:sub(1, -2),
      ("00-%s-%s-01"):format(("0"):rep(32), SPAN), ("00-%s-%s-01"):format(ID, ("0"):rep(16)),
      PARENT:gsub("%-", "_"), "01" .. PARENT:sub(3) .. "x",
    }
    publish(0)
    for i = 1, #malformed do publish(i, malformed[i]) end
    publish(100, PARENT, PARENT)
    place:publish("work", "101", "-D", "publish", "user-property", "tracestate", "a=1")
    local noted = place:await_notes("seen", 8 * (#malformed + 3))
    for _, line in ipairs(noted) do
      local note = cjson.decode(line)
      if note.kind ~= "other" and note.kind ~= "state" then
        assert.equal(0, #note.data - (note.kind == "second" and 1 or 0), line)
      end
    end
    hosting.stop(host)
  end)

  it("is carried on from versions to come, with the flags that we know", function()
    local host = run()
    place:publish("work", "{}", "-D", "publish", "user-property", "traceparent",
      ("cc-%s-%s-fe-more"):format(ID, SPAN), "-D", "publish", "user-property", "tracestate",
      "a=1", "-D", "publish", "user-property", "tracestate", "B=2")
    local kinds = seen(8)
    local _, flags = parent_of(kinds.first.traceparent)
    assert.equal("02", flags)
    assert.is_nil(kinds.first.tracestate)
    hosting.stop(host)
  end)

  it("is not carried on with --no-trace-context", function()
    local host = run { "--no-trace-context" }
    place:publish("work", "{}", "-D", "publish", "user-property", "traceparent", PARENT)
    local kinds = seen(8)
    assert.is_nil(kinds.first.traceparent)
    assert.is_nil(hosting.record(host, "working").trace_id)
    hosting.stop(host)
  end)

  it("is carried on in a plain Lua, unless its environment says no", function()
    local script = place:script("plain", SINK .. [[
      iotops.on_telemetry("work", function(value) iotops.send("out/first", value) end)
      iotops.run()
    ]])
    for _, word in ipairs { "on", "off" } do
      local env = place.broker:environment("plain-" .. word)
      env.IOTOPS_TRACE_CONTEXT = word
      local running = process.start({ "lua5.4", script }, { env = env })
      running:line "subscribed to work"
      place:publish("work", "{}", "-D", "publish", "user-property", "traceparent", PARENT)
      local data = cjson.decode(place:await_notes("seen", word == "on" and 1 or 2)[
        word == "on" and 1 or 2]).data
      assert.equal(word == "on" and 1 or 0, #data)
      running:signal_with "sigterm"
      running:wait(10)
    end
  end)
end)
