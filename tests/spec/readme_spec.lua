local hosting = require "hosting"
local process = require "process"
local sanitized = require "sanitized"

local BUILD = os.getenv("BUILD") or "build"

local readme = table.concat(hosting.lines("README.md"), "\n")

-- The n-th example in `language`.
local function example(language, n)
  local seen = 0
  for text in readme:gmatch("```" .. language .. "\n(.-)```") do
    seen = seen + 1
    if seen == n then return text end
  end
  error(("README.md has no example %d in %s"):format(n, language))
end

describe("the README", function()
  local place

  before_each(function() place = hosting.place() end)
  after_each(function() place:close() end)

  local function tool(...)
    local run = place:tool { ... }
    assert.equal(0, run.code, run:text())
    return table.concat(run.out, "\n")
  end

  local function watch(filter)
    local watching = process.start({ "stdbuf", "-oL", "mosquitto_sub", "-V", "5", "-p",
      tostring(place.broker.port), "-t", filter, "-d" })
    watching:line("Subscribed")
    return watching
  end

  it("has a first script that does what it says", function()
    local host = place:run { place:script("line1", example("lua", 1)) }
    local alarms = watch("alarms/#")
    assert.match('"accepted": ?true', tool("invoke", "fans/fan1/setSpeed", '{"rpm": 1200}'))
    assert.match('"accepted": ?false', tool("invoke", "fans/fan1/setSpeed", '{"rpm": 3001}'))
    tool("send", "sensors/oven/temperature", '{"celsius": 89}')
    tool("send", "sensors/oven/temperature", '{"celsius": 95}')
    assert.match('"celsius": ?95', (alarms:line('"celsius"')))
    hosting.stop(host)
  end)

  it("has a rock example that sends", function()
    local sensors = watch("sensors/#")
    local run = process.run({ "lua5.4", place:script("two", example("lua", 2)) },
      { env = place.broker:environment("two") })
    assert.equal(0, run.code, run:text())
    assert.match('"celsius": ?95', (sensors:line('"celsius"')))
  end)

  it("has a counter that counts under a lock", function()
    local standin = process.start({ hosting.program, "standin", "statestore" },
      { env = place.broker:environment("iotops-statestore") })
    standin:line "ready"
    local host = place:run { place:script("counter", example("lua", 3)) }
    for _ = 1, 2 do tool("invoke", "counters/press/add", '{"count": 3}') end
    assert.equal("6", tool("kv", "get", "counters/press"))
    hosting.stop(host)
  end)

  it("has a C example that sends", function()
    local source, program = place.folder .. "/oven.c", place.folder .. "/oven"
    hosting.write(source, example("c", 1))
    local built = process.run { "sh", "-c",
      ("gcc -Wall -Wextra -Werror -Ihost/include %s %s -o %s %s/libiotops.a "
        .. "$(pkg-config --libs libuv openssl jansson libmosquitto)")
        :format(sanitized.flags, source, program, BUILD) }
    assert.equal(0, built.code, built:text())
    local sensors = watch("sensors/#")
    local run = process.run({ program }, { env = place.broker:environment("oven") })
    assert.equal(0, run.code, run:text())
    assert.equal("acknowledged", run.out[1])
    assert.match('"celsius": 95', (sensors:line('"celsius"')))
  end)

  it("maps folders that exist", function()
    local count = 0
    for path in readme:gmatch("\n| `([^`]+/)` |") do
      assert.equal(0, process.run({ "ls", path }).code, path)
      count = count + 1
    end
    assert.is_true(count > 5)
  end)
end)
