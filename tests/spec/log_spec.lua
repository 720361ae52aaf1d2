local hosting = require "hosting"

describe("the log of a host", function()
  local place

  before_each(function() place = hosting.place() end)

  after_each(function() place:close() end)

  local function of_level(host, level)
    local found = {}
    for _, record in ipairs(hosting.records(host)) do
      if record.level == level then found[#found + 1] = record end
    end
    return found
  end

  it("tells a failed command once, with all that finds the request again", function()
    local host = place:run { place:script("fan", [[
      local iotops = require "iotops"
      iotops.on_command("fans/set", function(_, request)
        iotops.log.info("asked", request.correlation_id)
        iotops.sleep(0.01)
        error("broken")
      end)
    ]]) }
    local asked = place:tool { "invoke", "fans/set", "{}" }
    assert.equal(1, asked.code)
    local errors = of_level(host, "error")
    assert.equal(1, #errors, host:text())
    local record = errors[1]
    assert.truthy(record.message:find("the command handler failed: .*fan.lua:5: broken"))
    assert.equal("fan", record.script)
    assert.equal(1, record.generation)
    assert.equal("fans/set", record.topic)
    assert.equal("number", type(record.packet))
    local id = hosting.record(host, "asked").message:match("asked (%S+)")
    assert.equal(36, #id)
    assert.equal(id, record.correlation)
    hosting.stop(host)
  end)

  it("shows one traceback of an error that was caught and raised again: where it was", function()
    local host = place:run { place:script("fan", [[
      local iotops = require "iotops"
      local function deep() error("broken") end
      iotops.on_telemetry("work", { on_error = "retry", retries = 1, retry_pause = 0 }, function()
        deep()
      end)
    ]]) }
    place:publish("work", "1")
    local record = hosting.record(host, "the telemetry handler failed")
    assert.truthy(record.message:find("fan.lua:2: in upvalue 'deep'", 1, true), record.message)
    local _, count = record.message:gsub("stack traceback:", "")
    assert.equal(1, count, record.message)
    hosting.stop(host)
  end)

  it("has no error of a stop that was wanted", function()
    local host = place:run({ place:script("line", [[
      local iotops = require "iotops"
      iotops.on_telemetry("work", function() end)
      iotops.on_command("ask", function() return {} end)
      local cache = iotops.state_store()
      iotops.on_start(function() pcall(cache.get, cache, "key") end)
      iotops.on_start(function()
        while true do
          iotops.sleep(0.001)
          iotops.send("out", {})
        end
      end)
    ]]) }, { args = { "--end-session", "--drain", "0.1" } })
    hosting.stop(host)
    assert.same({}, of_level(host, "error"))
  end)
end)
