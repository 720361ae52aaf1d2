local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"

describe("the event-driven sample", function()
  local folder, dev

  before_each(function()
    folder = process.folder()
    dev = process.start({ hosting.program, "dev", "--log-format", "json",
      "scripts/samples/event_driven/sliding_window.lua" },
      { env = { XDG_RUNTIME_DIR = folder, TMPDIR = folder, AIO_BROKER_HOSTNAME = false,
        WINDOW_SECONDS = "4" } })
    hosting.connected(dev)
  end)

  after_each(function()
    process.kill_all()
    os.execute("rm -rf " .. folder)
  end)

  local function tool(...)
    return process.start({ hosting.program, ... },
      { env = { XDG_RUNTIME_DIR = folder, AIO_BROKER_HOSTNAME = false } })
  end

  it("sums up what came within the window, and forgets what is older", function()
    local watching = tool("watch", "--json", "--count", "2", "sensor/+/window")
    watching:line "watching"
    for _, reading in ipairs { 20, 21, 22, 27 } do
      assert.equal(0, tool("send", "sensor/s1/data",
        ('{"temperature":%d,"unit":"C"}'):format(reading)):wait(5))
    end
    assert.equal(0, (watching:wait(5)))
    local result = cjson.decode(watching.out[2])
    assert.equal("sensor/s1/window", result.topic)
    assert.same({ temperature = { min = 20, max = 27, mean = 22.5, median = 21.5, p75 = 23.25,
      count = 4 } }, result.payload.fields)
    process.eventually("the sensor to be forgotten", function()
      local got = tool("kv", "get", "event_driven/s1")
      return got:wait(5) == 1
    end, 8)
  end)
end)
