local cjson = require "cjson"
local hosting = require "hosting"
local process = require "process"

local SCRIPT = [[
local iotops = require "iotops"
local last
iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
  if reading.celsius > LIMIT then
    iotops.send("alarms/{sensorId}", { celsius = reading.celsius, time = os.date "!%H:%M:%S" },
      { tokens = message.tokens })
  end
  last = reading
end)
iotops.every(60, function() if last then iotops.send("minutes", last.celsius) end end)
iotops.on_command("line/reset", function() last = nil; return { done = true } end)
]]

local function line(entry)
  entry.qos = 1
  return cjson.encode(entry)
end

local function reading(time, sensor, celsius)
  return line { time = "2026-11-21T" .. time .. "Z", direction = "in",
    topic = "sensors/" .. sensor .. "/temperature", payload = { celsius = celsius } }
end

describe("iotops replay", function()
  local folder

  before_each(function()
    folder = process.folder()
    hosting.write(folder .. "/line1.lua", (SCRIPT:gsub("LIMIT", "90")))
  end)
  after_each(function()
    process.kill_all()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  local function replay(lines, ...)
    hosting.write(folder .. "/day.jsonl", table.concat(lines, "\n") .. "\n")
    return process.run { hosting.program, "replay", folder .. "/day.jsonl",
      folder .. "/line1.lua", ... }
  end

  local DAY = {
    reading("10:00:00.000", "a", 95), reading("10:00:30.500", "b", 20),
    reading("10:02:00.000", "b", 99),
  }

  it("gives a script what was recorded at its time, and shows what it sends", function()
    local ended = replay(DAY, "--json", "--after", "5")
    assert.equal(0, ended.code, ended:text())
    local report = cjson.decode(ended.out[1])
    local sent = {}
    for index, each in ipairs(report.sent) do
      sent[index] = each.time:sub(12, 23) .. " " .. each.topic
    end
    assert.same({ "10:00:00.000 alarms/a", "10:01:00.000 minutes", "10:02:00.000 minutes",
      "10:02:00.000 alarms/b" }, sent)
    assert.equal("10:02:00", report.sent[4].payload.time)
    assert.equal(3, report.received)
    assert.same({}, report.errors)
    assert.is_true(report.longest_us > 0 and report.busy_us >= report.longest_us)
    ended = replay(DAY)
    assert.match("2026-11-21T10:00:00.000Z alarms/a { celsius = 95, time = \"10:00:00\" }",
      ended.out[1], 1, true)
    assert.match("^3 messages in, 4 out, 0 errors; ", ended.out[#ended.out])
  end)

  -- What a first run sends becomes the recording of the second.
  local function recorded()
    local lines = { table.unpack(DAY) }
    for _, each in ipairs(cjson.decode(replay(DAY, "--json").out[1]).sent) do
      lines[#lines + 1] = line { time = each.time, direction = "out", topic = each.topic,
        payload = each.payload, content_type = each.content_type, format_indicator = 1,
        user_properties = { { "__ts", "then" }, { "__srcId", "it" }, { "__protVer", "1.0" } } }
    end
    return lines
  end

  it("finds nothing where a candidate sends what was sent before", function()
    local ended = replay(recorded(), "--compare")
    assert.equal(0, ended.code, ended:text())
    assert.equal(1, #ended.out, ended:text())
    assert.match("0 errors, 0 differences", ended.out[1], 1, true)
  end)

  it("says what a candidate sends otherwise, and exits with 1", function()
    local lines = recorded()
    hosting.write(folder .. "/line1.lua", (SCRIPT:gsub("LIMIT", "96"):gsub("last.celsius%)",
      "last.celsius + 1)")))
    local ended = replay(lines, "--compare")
    local text = ended:text()
    assert.equal(1, ended.code, text)
    assert.match("- alarms/a { celsius = 95", text, 1, true)
    assert.match("day.jsonl:4): was sent, and is not any more", text, 1, true)
    assert.match("~ minutes 21: was 20", text, 1, true)
    assert.match("3 differences", text, 1, true)
    ended = replay(DAY, "--compare", "--json")
    local report = cjson.decode(ended.out[1])
    assert.equal(1, ended.code)
    assert.equal("new", report.differences[1].what)
  end)

  it("takes what comes after the last record for no difference: nobody has recorded it", function()
    local ended = replay(recorded(), "--compare", "--after", "120")
    assert.equal(0, ended.code, ended:text())
    assert.match("3 messages in, 6 out, 0 errors, 0 differences", ended.out[1], 1, true)
  end)

  it("says when a recording holds nothing to compare with, and how to get it", function()
    local ended = replay(DAY, "--compare")
    assert.equal(1, ended.code, ended:text())
    assert.match("iotops record --script line1", ended:text(), 1, true)
    ended = replay({ DAY[1], line { time = "2026-11-21T10:00:01Z", direction = "out",
      script = "line7", topic = "alarms/a", payload = 1 } }, "--compare")
    assert.equal(2, ended.code, ended:text())
    assert.same({}, ended.out)
    assert.match("holds what the script line7 sent, not line1", ended:text(), 1, true)
    assert.match("line7.lua", ended:text(), 1, true)
  end)

  it("answers recorded requests", function()
    local ended = replay({
      reading("10:00:00.000", "a", 20),
      line { direction = "in", topic = "line/reset", response_topic = "clients/c/answers",
        correlation_data_base64 = "AAECAwQFBgcICQoLDA0ODw==", message_expiry = 10,
        payload = cjson.null, content_type = "application/json",
        user_properties = { { "__protVer", "1.0" }, { "__srcId", "c" } } },
    }, "--json", "--after", "120")
    assert.equal(0, ended.code, ended:text())
    local report = cjson.decode(ended.out[1])
    assert.equal(1, #report.sent, ended:text())
    assert.equal("clients/c/answers", report.sent[1].topic)
    assert.same({ done = true }, report.sent[1].payload)
  end)

  it("reports errors of the script, what it does not receive, and exits with 1", function()
    local ended = replay {
      line { direction = "in", topic = "sensors/a/temperature", payload_text = "no JSON" },
      line { direction = "in", topic = "sensors/a/temperature", payload = { kelvin = 1 } },
      line { direction = "in", topic = "elsewhere", payload = 1 },
    }
    assert.equal(1, ended.code)
    assert.match("error sensors/a/temperature: the telemetry handler failed", ended:text(), 1,
      true)
    assert.match("line1.lua:4", ended:text(), 1, true)
    assert.match("not received: elsewhere (1 message)", ended:text(), 1, true)
    hosting.write(folder .. "/line1.lua", "not Lua")
    ended = replay(DAY)
    assert.equal(1, ended.code)
    assert.match("line1.lua:1: unexpected symbol", ended:text(), 1, true)
  end)

  it("names the line of a recording that it cannot read, and exits with 2", function()
    local ended = replay { DAY[1], '{"topic": 7}' }
    assert.equal(2, ended.code)
    assert.match("day.jsonl:2: topic", ended:text(), 1, true)
    assert.equal(2, replay({}).code)
    assert.equal(2, replay(DAY, "--no-such-option").code)
    local function run(...) return process.run { hosting.program, "replay", ... }.code end
    assert.equal(2, run())
    assert.equal(2, run(folder .. "/nowhere.jsonl", folder .. "/line1.lua"))
    assert.equal(0, run "--help")
  end)

  it("compares with what a running script has been seen to do, by `iotops record`", function()
    local place = hosting.place()
    local text = [[
local iotops = require "iotops"
iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
  iotops.send("doubled/{sensorId}", { celsius = reading.celsius * 2 }, { tokens = message.tokens })
end)
iotops.on_command("line/reset", function() return { done = true } end)
]]
    local path = place:script("line1", text)
    local host = place:run({ path }, { args = { "--control", place.folder .. "/control" } })
    local recorder = process.start { hosting.program, "record", "--script", "line1",
      "--socket", place.folder .. "/control", "--output", place.folder .. "/day.jsonl" }
    -- It has begun once a message is written down.
    process.eventually("the recorder writes", function()
      place:publish("sensors/warm/temperature", '{"celsius": 1}')
      return #place:noted "day.jsonl" > 0
    end)
    place:tool { "send", "sensors/a/temperature", '{"celsius": 21}' }
    place:tool { "invoke", "line/reset", "{}" }
    process.eventually("the answer is written down", function()
      return table.concat(place:noted "day.jsonl"):find "done"
    end)
    recorder:signal_with "sigint"
    assert.equal(0, recorder:wait(), recorder:text())
    hosting.stop(host)
    local function replay_it()
      return process.run { hosting.program, "replay", "--compare", "--client-id",
        place.client_id, place.folder .. "/day.jsonl", path }
    end
    local ended = replay_it()
    assert.equal(0, ended.code, ended:text() .. table.concat(place:noted "day.jsonl", "\n"))
    assert.match("0 differences", ended:text(), 1, true)
    place:script("line1", (text:gsub("%* 2", "* 3")))
    ended = replay_it()
    assert.equal(1, ended.code, ended:text())
    assert.match("~ doubled/a { celsius = 63 }: was { celsius = 42 }", ended:text(), 1, true)
    place:close()
  end)
end)
