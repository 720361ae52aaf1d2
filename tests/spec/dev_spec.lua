local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"
local uv = require "luv"

describe("iotops dev", function()
  local folder

  before_each(function() folder = process.folder() end)

  after_each(function()
    process.kill_all()
    os.execute("rm -rf " .. folder)
  end)

  local function environment(changes)
    local env = { XDG_RUNTIME_DIR = folder, TMPDIR = folder, AIO_BROKER_HOSTNAME = false }
    for name, value in pairs(changes or {}) do env[name] = value end
    return env
  end

  local function dev(...)
    return process.start({ hosting.program, "dev", "--log-format", "json", ... },
      { env = environment() })
  end

  local function tool(...)
    return process.run({ hosting.program, ... }, { env = environment() })
  end

  local function stop(running)
    running:signal_with("sigterm")
    assert.equal(0, (running:wait(10)))
  end

  -- What is left in the temporary folder of the broker's.
  local function left()
    local names = {}
    local scan = uv.fs_scandir(folder)
    for name in function() return uv.fs_scandir_next(scan) end do
      if name:find("^iotops%-dev") then names[#names + 1] = name end
    end
    return names
  end

  local function runs(pid)
    local file = io.open("/proc/" .. pid .. "/stat")
    if not file then return false end
    local state = file:read("a"):match("%) (%a)")
    file:close()
    return state ~= "Z"
  end

  -- The process id of the broker that listens for `running`.
  local function broker_pid(running)
    local file = assert(io.open(("/proc/%d/task/%d/children"):format(running.pid, running.pid)))
    local pid = file:read("n")
    file:close()
    return pid
  end

  it("runs scripts against a broker of its own, which the tools find", function()
    hosting.write(folder .. "/fan.lua", [[
      local iotops = require "iotops"
      iotops.on_command("fans/f1/setSpeed", function(request) return { rpm = request.rpm } end)
    ]])
    local running = dev(folder .. "/fan.lua")
    local _, port = running:line("port (%d+), log")
    hosting.connected(running)
    local invoked = tool("invoke", "fans/f1/setSpeed", '{"rpm":5}')
    assert.equal(0, invoked.code, invoked:text())
    assert.same({ rpm = 5 }, cjson.decode(invoked.out[1]))
    local file = assert(io.open(folder .. "/iotops/dev.json"))
    local record = cjson.decode(file:read("a"))
    file:close()
    assert.equal(tonumber(port), record.port)
    assert.equal(tonumber("600", 8), uv.fs_stat(folder .. "/iotops/dev.json").mode & 511)
    assert.equal(tonumber("700", 8), uv.fs_stat(folder .. "/iotops").mode & 511)
    stop(running)
    assert.is_nil(uv.fs_stat(folder .. "/iotops/dev.json"))
    assert.same({}, left())
  end)

  it("takes the broker down even when it is killed, and the next clears up", function()
    local running = dev("--broker-only")
    running:line("port (%d+), log")
    local pid = broker_pid(running)
    assert.is_true(runs(pid))
    running:signal_with("sigkill")
    running:wait()
    process.eventually("the broker has ended", function() return not runs(pid) end, 5)
    assert.equal(1, #left())
    assert.equal(2, tool("send", "a", "{}").code)
    running = dev("--broker-only")
    running:line("port (%d+), log")
    assert.equal(1, #left())
    stop(running)
    assert.same({}, left())
  end)

  it("says so and ends when the broker dies", function()
    hosting.write(folder .. "/a.lua", "return 1\n")
    for _, what in ipairs { "--broker-only", folder .. "/a.lua" } do
      local running = dev(what)
      running:line("port (%d+), log")
      if what ~= "--broker-only" then hosting.record(running, "loaded") end
      uv.kill(broker_pid(running), "sigkill")
      assert.equal(1, (running:wait(5)))
      assert.truthy(running:text():find("the broker has ended (killed by signal 9)", 1, true))
    end
  end)

  it("writes the port where it is asked to, once the broker can be reached", function()
    local running = dev("--broker-only", "--port-file", folder .. "/port")
    local port = process.eventually("the port", function()
      return hosting.lines(folder .. "/port")[1]
    end)
    local published = process.run { "mosquitto_pub", "-p", port, "-t", "a", "-m", "b" }
    assert.equal(0, published.code)
    stop(running)
  end)

  it("keeps what its broker stores in the folder that is named", function()
    local function retained(running, port)
      local read = process.run { "mosquitto_sub", "-p", port, "-t", "kept", "-C", "1", "-W", "3" }
      stop(running)
      return read.out
    end
    local running = dev("--broker-only", "--folder", folder .. "/kept")
    local _, port = running:line("port (%d+), log")
    process.run { "mosquitto_pub", "-p", port, "-t", "kept", "-m", "it", "-r", "-q", "1" }
    assert.same({ "it" }, retained(running, port))
    running = dev("--broker-only", "--folder", folder .. "/kept")
    _, port = running:line("port (%d+), log")
    assert.same({ "it" }, retained(running, port))
  end)

  it("does not believe a record that others may write", function()
    local running = dev("--broker-only")
    running:line("port (%d+), log")
    assert.equal(0, tool("send", "a", "{}").code)
    uv.fs_chmod(folder .. "/iotops", tonumber("777", 8))
    local refused = tool("send", "a", "{}")
    assert.equal(2, refused.code)
    assert.truthy(refused:text():find("not a folder of yours alone", 1, true))
    uv.fs_chmod(folder .. "/iotops", tonumber("700", 8))
    os.rename(folder .. "/iotops/dev.json", folder .. "/real.json")
    uv.fs_symlink(folder .. "/real.json", folder .. "/iotops/dev.json")
    assert.equal(2, tool("send", "a", "{}").code)
    stop(running)
  end)

  it("names the mistake in the broker's configuration", function()
    local ended = process.run({ hosting.program, "dev", "--broker-only", "--broker-line",
      "no_such_option true" }, { env = environment() })
    assert.equal(2, ended.code)
    assert.truthy(ended:text():find("no_such_option", 1, true), ended:text())
    assert.same({}, left())
  end)
end)
