local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"
local uv = require "luv"

describe("iotops record", function()
  local place, env

  before_each(function()
    place = hosting.place()
    env = place.broker:environment("recorder")
    env.XDG_RUNTIME_DIR = place.folder
  end)

  after_each(function() place:close() end)

  local function record(...)
    local recording = process.start({ hosting.program, "record", ... }, { env = env })
    recording:line("recording; Control%-C ends")
    return recording
  end

  local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("a")
    file:close()
    return text
  end

  -- What is not text, and what a line must not be broken by.
  local function bytes_file()
    local path = place.folder .. "/bytes"
    local file = assert(io.open(path, "wb"))
    file:write("\0\255\r\n\"")
    file:close()
    return path
  end

  it("writes messages of its filters down, a line each, at once", function()
    local path = place.folder .. "/day.jsonl"
    local recording = record("--output", path, "a/#", "b")
    place:publish("a/1", '{"n": 1}\n', "-D", "publish", "user-property", "k", "v",
      "-D", "publish", "response-topic", "answers", "-D", "publish", "content-type", "text/x",
      "-D", "publish", "correlation-data", "c1", "-D", "publish", "message-expiry-interval", "60",
      "-r")
    process.eventually("it is in the file", function() return #hosting.lines(path) == 1 end)
    local first = cjson.decode(hosting.lines(path)[1])
    assert.equal("in", first.direction)
    assert.equal("a/1", first.topic)
    assert.equal('{"n": 1}\n', first.payload_text)
    assert.equal(1, first.qos)
    assert.is_true(first.retain)
    assert.equal("text/x", first.content_type)
    assert.equal("answers", first.response_topic)
    assert.equal("YzE=", first.correlation_data_base64)
    assert.is_true(first.message_expiry <= 60)
    assert.same({ { "k", "v" } }, first.user_properties)
    assert.truthy(first.time:match("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"))
    process.run { "mosquitto_pub", "-V", "5", "-p", tostring(place.broker.port), "-t", "b",
      "-f", bytes_file() }
    place:publish("c", "not asked for")
    process.eventually("the second too", function() return #hosting.lines(path) == 2 end)
    assert.equal("AP8NCiI=", cjson.decode(hosting.lines(path)[2]).payload_base64)
    recording:signal_with("sigint")
    assert.equal(0, (recording:wait(5)))
    assert.truthy(recording:text():find("2 messages recorded", 1, true), recording:text())
  end)

  it("ends after so many, or so long", function()
    local recording = record("--count", "2", "a")
    for n = 1, 3 do place:publish("a", tostring(n)) end
    assert.equal(0, (recording:wait(5)))
    assert.equal(2, #recording.out)
    assert.equal("2", cjson.decode(recording.out[2]).payload_text)
    recording = record("--for", "0.05", "nothing")
    assert.equal(0, (recording:wait(5)))
    assert.truthy(recording:text():find("0 messages recorded", 1, true))
  end)

  it("writes down what a script receives and sends", function()
    local script = place:script("echo", [[
      local iotops = require "iotops"
      iotops.on_telemetry("in", function(value) iotops.send("out", value) end)
    ]])
    local host = place:run({ script }, { env = { XDG_RUNTIME_DIR = place.folder } })
    local path = place.folder .. "/echo.jsonl"
    local recording = record("--script", "echo", "--output", path, "--count", "4")
    place:publish("in", '{"n":1}')
    place:publish("in", '{"n":2}')
    assert.equal(0, (recording:wait(5)))
    local seen = {}
    for _, line in ipairs(hosting.lines(path)) do
      local message = cjson.decode(line)
      seen[#seen + 1] = message.direction .. " " .. message.topic .. " " .. message.payload_text
      assert.equal("echo", message.script)
    end
    table.sort(seen)
    assert.same({ 'in in {"n":1}', 'in in {"n":2}', 'out out {"n":1}', 'out out {"n":2}' }, seen)
    local again = process.run { hosting.program, "replay", "--compare", path, script }
    assert.equal(0, again.code, again:text())
    recording = record("--script", "echo", "--for", "0.05")
    assert.equal(0, (recording:wait(5)))
    recording = record("--script", "echo")
    recording:signal_with("sigterm")
    assert.equal(0, (recording:wait(5)))
    recording = record("--script", "echo")
    hosting.stop(host)
    assert.equal(3, (recording:wait(5)), "the host has ended")
    assert.truthy(read(path):sub(-1) == "\n")
  end)

  it("says what is wrong with what it is asked for", function()
    local function refused(...)
      local ran = process.run({ hosting.program, "record", ... }, { env = env })
      return ran.code, ran:text()
    end
    assert.equal(2, (refused()))
    assert.equal(2, (refused("--script", "x", "a")))
    assert.equal(2, (refused("a/#/b")))
    assert.equal(2, (refused("--count", "none", "a")))
    assert.equal(2, (refused("--output", place.folder .. "/no/such", "a")))
    assert.equal(3, (refused("--script", "x")))
    local script = place:script("echo", "local iotops = require 'iotops' "
      .. "iotops.on_telemetry('in', print)")
    place:run({ script }, { env = { XDG_RUNTIME_DIR = place.folder } })
    local code, said = refused("--script", "x")
    assert.equal(1, code)
    assert.truthy(said:find("it has: echo", 1, true), said)
    local full = uv.fs_stat("/dev/full") and "/dev/full"
    if full then
      local recording = record("--output", full, "a")
      place:publish("a", "1")
      assert.equal(2, (recording:wait(5)))
    end
  end)
end)
