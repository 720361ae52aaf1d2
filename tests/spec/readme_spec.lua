local brokers = require "broker"
local host = require "host"
local process = require "process"

local BUILD = os.getenv("BUILD") or "build"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local write = host.write

local readme = read("README.md")

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
  local private, folder

  before_each(function()
    private, folder = brokers.start(), process.folder()
  end)

  after_each(function()
    process.kill_all()
    os.execute("rm -rf " .. folder)
  end)

  local function tool(...)
    local run = host.tool(private, ...)
    assert.equal(0, run.code, run:text())
    return table.concat(run.out, "\n")
  end

  local function watch(filter)
    local watching = process.start({ "mosquitto_sub", "-V", "5", "-p", tostring(private.port),
      "-t", filter, "-d" })
    watching:line("Subscribed")
    return watching
  end

  it("has a first script that does what it says", function()
    local script = write(folder .. "/line1.lua", example("lua", 1))
    local running = host.run(private, "line1", script)
    local alarms = watch("alarms/#")
    assert.match('"accepted": ?true', tool("invoke", "fans/fan1/setSpeed", '{"rpm": 1200}'))
    assert.match('"accepted": ?false', tool("invoke", "fans/fan1/setSpeed", '{"rpm": 3001}'))
    tool("send", "sensors/oven/temperature", '{"celsius": 89}')
    tool("send", "sensors/oven/temperature", '{"celsius": 95}')
    assert.match('"celsius": ?95', (alarms:line('"celsius"')))
    host.stop(running)
  end)

  it("has a rock example that sends", function()
    if BUILD:find("asan", 1, true) then pending("a plain interpreter lacks the sanitizer") end
    local sensors = watch("sensors/#")
    local run = process.run({ "lua5.4", write(folder .. "/two.lua", example("lua", 2)) },
      { env = private:environment("two") })
    assert.equal(0, run.code, run:text())
    assert.match('"celsius": ?95', (sensors:line('"celsius"')))
  end)

  it("has a C example that sends", function()
    if BUILD:find("asan", 1, true) then pending("the library needs the sanitizer's flags") end
    local source = write(folder .. "/oven.c", example("c", 1))
    local built = process.run { "sh", "-c",
      ("gcc -Wall -Wextra -Werror -Ihost/include %s -o %s/oven %s/libiotops.a "
        .. "$(pkg-config --libs libuv openssl jansson libmosquitto)")
        :format(source, folder, BUILD) }
    assert.equal(0, built.code, built:text())
    local sensors = watch("sensors/#")
    local run = process.run({ folder .. "/oven" }, { env = private:environment("oven") })
    assert.equal(0, run.code, run:text())
    assert.equal("acknowledged", run.out[1])
    assert.match('"celsius": 95', (sensors:line('"celsius"')))
  end)

  it("maps folders that exist", function()
    for path in readme:gmatch("\n| `([^`]+/)` |") do
      local listed = process.run { "ls", path }
      assert.equal(0, listed.code, path)
    end
  end)
end)
