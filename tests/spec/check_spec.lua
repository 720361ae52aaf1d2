local cjson = require "cjson"
local hosting = require "hosting"
local process = require "process"

describe("iotops check", function()
  local folder

  before_each(function() folder = process.folder() end)
  after_each(function()
    process.kill_all()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  local function script(name, text)
    hosting.write(folder .. "/" .. name, text)
  end

  local function check(...)
    return process.run({ hosting.program, "check", ... }, {
      cwd = folder, env = { LINE_LIMIT = "80", LINE_UNIT = false, AIO_MQTT_CLIENT_ID = false },
    })
  end

  setup(function()
    hosting.program = assert(require("lfs").currentdir()) .. "/" .. hosting.program
  end)
  teardown(function()
    hosting.program = (os.getenv("BUILD") or "build") .. "/iotops"
  end)

  it("says what a script receives, executes and needs, and asks no broker", function()
    os.execute("mkdir '" .. folder .. "/lib'")
    script("lib/limits.lua", "return { hot = 90 }")
    script("line1.lua", [[
local iotops = require "iotops"
local limits = require "lib.limits"
local limit, unit = os.getenv "LINE_LIMIT", os.getenv "LINE_UNIT"
iotops.configure { topic_namespace = "factory" }
iotops.on_telemetry("sensors/{sensorId}/temperature", { service_group_id = "g" },
  function() return limits, limit, unit end)
iotops.on_command("fans/{executorId}/setSpeed", { concurrency = 2 }, function() end)
iotops.every(5, function() end, { name = "flush" })
iotops.counter("parts_total", "parts that were made")
iotops.on_start(function() error "must not run" end)
iotops.handoff { version = 3, save = function() return {} end }
local lock = iotops.lock("the line")
print("this is not part of the report")
return lock
]])
    local ended = check("--json", "--client-id", "fan7", "line1.lua")
    assert.equal(0, ended.code, ended:text())
    local report = cjson.decode(table.concat(ended.out, "\n")).scripts[1]
    assert.equal("line1.lua", report.path)
    assert.equal("$share/g/factory/sensors/+/temperature", report.endpoints[1].filter)
    assert.equal("telemetry", report.endpoints[1].kind)
    assert.equal("g", report.endpoints[1].service_group_id)
    assert.equal("line1.lua:5", report.endpoints[1].line)
    assert.equal("factory/fans/fan7/setSpeed", report.endpoints[2].filter)
    assert.equal("setSpeed", report.endpoints[2].command_name)
    assert.same({ executorId = "fan7" }, report.endpoints[2].tokens)
    assert.same({ { seconds = 5, repeats = true, line = "line1.lua:8", name = "flush" } },
      report.timers)
    assert.equal("parts_total", report.counters[1].name)
    assert.same({ { name = "lib.limits", path = "lib/limits.lua", is_own = true } },
      report.modules)
    assert.same({ LINE_LIMIT = { line = "line1.lua:3", is_set = true },
      LINE_UNIT = { line = "line1.lua:3", is_set = false } }, report.env)
    assert.equal(1, report.on_start)
    assert.is_true(report.uses_state_store)
    assert.equal("the line", report.locks[1].name)
    assert.same({ version = 3, saves = true, restores = false }, report.handoff)
    assert.same({}, report.warnings)
  end)

  it("names the line and the remedy of each refusal, and checks all files", function()
    script("bad_syntax.lua", "local x = = 1")
    script("computes.lua", "while true do end")
    script("fine.lua", "require('iotops').on_start(function() end)")
    script("lacks.lua", "\nrequire 'no.such.module'")
    script("misspelt.lua", "local iotops = require 'iotops'\niotops.on_telemetri('a', print)")
    script("waits.lua", "local iotops = require 'iotops'\niotops.send('a', 1)")
    local ended = check("--load-limit", "0.1", ".", "nowhere.lua")
    local text = ended:text()
    assert.equal(1, ended.code, text)
    for _, line in ipairs {
      "bad_syntax.lua:1: unexpected symbol near '='",
      "computes.lua:1: stopped: ran longer than 100 ms",
      "fine.lua: ok",
      "lacks.lua:2: module 'no.such.module' not found",
      "put no/such/module.lua beside the script",
      "misspelt.lua:2: attempt to call a nil value (field 'on_telemetri')",
      "is 'on_telemetri' spelled right?",
      "waits.lua:2: cannot wait while the script is being loaded; wait inside iotops.on_start",
      "nowhere.lua: No such file or directory",
      "7 scripts checked, 6 refused, 0 warnings",
    } do
      assert.is_truthy(text:find(line, 1, true), line .. " in\n" .. text)
    end
    assert.is_nil(text:find("stack traceback", 1, true), text)
  end)

  it("warns of globals, of idle scripts and of commands that two scripts execute", function()
    script("first.lua", [[
local iotops = require "iotops"
counter = 0
iotops.on_command("fans/{executorId}/setSpeed", function(request)
  local fast = request.rpm > 1000
  if fast then
    speed = request.rpm
  end
end)
]])
    script("second.lua", [[
require "iotops".on_command("fans/{executorId}/setSpeed", function() end)
]])
    script("third.lua", "return 1")
    local ended = check(".")
    local text = ended:text()
    assert.equal(0, ended.code, text)
    for _, line in ipairs {
      "first.lua:2: assigns the global 'counter'; write `local counter`",
      "first.lua:6: assigns the global 'speed'; write `local speed`",
      "second.lua:1: executes setSpeed (fans/iotops/setSpeed), which first executes too "
        .. "(first.lua:3)",
      "third.lua: ok", "declares nothing",
      "3 scripts checked, 0 refused, 4 warnings",
    } do
      assert.is_truthy(text:find(line, 1, true), line .. " in\n" .. text)
    end
  end)

  it("lists what a session of the script's own receives, without making it", function()
    script("own.lua", [[
local iotops = require "iotops"
local own = assert(iotops.session { hostname = "127.0.0.1", tcp_port = 1, use_tls = false,
  client_id = "own", password = "between us" })
own:on_telemetry("press/{number}", function() end)
assert(iotops.leader_election "foreman")
]])
    local ended = check("--json", "own.lua")
    assert.equal(0, ended.code, ended:text())
    assert.same({}, ended.err)
    assert.is_nil(ended:text():find("between us", 1, true))
    local report = cjson.decode(ended.out[1]).scripts[1]
    assert.equal("press/{number}", report.endpoints[1].filter)
    assert.is_true(report.endpoints[1].is_own_session)
    assert.equal("127.0.0.1", report.sessions[1].hostname)
    assert.equal("foreman", report.elections[1].name)
    assert.same({}, report.locks)
    assert.same({}, report.warnings)
  end)

  it("holds a script to what it will be allowed", function()
    script("plain.lua", "require('iotops').on_command('fans/{executorId}/stop', print)\nprint(1)")
    script("reads.lua", "require('iotops').on_start(print)\nprint(1)\nio.open('x')")
    local plain = process.run({ hosting.program, "check", "--allow", "none", "--json",
      "plain.lua" }, { cwd = folder, env = { IOTOPS_TOPIC_NAMESPACE = "factory" } })
    assert.equal(0, plain.code, plain:text())
    assert.match('"filter":"factory/fans/', plain.out[1], 1, true)
    assert.equal(0, check("reads.lua").code)
    local ended = check("--allow", "none", "reads.lua")
    assert.equal(1, ended.code, ended:text())
    assert.match("reads.lua:3:.*io.*%-%-allow", ended:text())
  end)

  it("refuses two scripts of one name, as the host does", function()
    os.execute("mkdir '" .. folder .. "/other'")
    script("line.lua", "require('iotops').on_start(print)")
    script("other/line.lua", "require('iotops').on_start(print)")
    local ended = check("line.lua", "other/line.lua")
    assert.equal(1, ended.code)
    assert.match('would both be the script "line"; rename one', ended:text())
  end)

  it("explains itself, and exits with 2 when it is not understood", function()
    assert.equal(0, check("--help").code)
    assert.equal(2, check().code)
    assert.equal(2, check("--jason", "a.lua").code)
    assert.equal(2, check("--load-limit", "long", "a.lua").code)
  end)
end)
