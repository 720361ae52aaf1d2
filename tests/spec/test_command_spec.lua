local hosting = require "hosting"
local process = require "process"

local ALARM = [[
local iotops = require "iotops"
iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
  if reading.celsius > 90 then
    iotops.send("alarms/{sensorId}", { celsius = reading.celsius }, { tokens = message.tokens })
  end
end)
]]

local SPEC = [[
local testing = require "iotops.testing"

describe("the alarm", function()
  it("is sent above 90 degrees", function()
    local world <close> = testing.world()
    local line = world:run "line1.lua"
    world:publish("sensors/1/temperature", { celsius = %d })
    assert.equal(95, world:expect("alarms/1").payload.celsius)
    assert.same({}, line:errors())
  end)
end)
]]

describe("iotops test", function()
  local folder, program

  setup(function()
    program = assert(require("lfs").currentdir()) .. "/" .. hosting.program
  end)
  before_each(function()
    folder = process.folder()
    hosting.write(folder .. "/line1.lua", ALARM)
  end)
  after_each(function()
    process.kill_all()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  local function test(...)
    -- The program has all of the module in itself: nothing of ours is found.
    return process.run({ program, "test", ... }, {
      cwd = folder, env = { LUA_PATH = ";;", LUA_CPATH = ";;" },
    })
  end

  it("runs the spec beside a script, or in the folder spec there", function()
    hosting.write(folder .. "/line1_spec.lua", SPEC:format(95))
    local ended = test("line1.lua")
    assert.equal(0, ended.code, ended:text())
    assert.equal("1 passed, 0 failed", ended.out[#ended.out])
    os.execute(("mkdir '%s/spec' && mv '%s/line1_spec.lua' '%s/spec/'"):format(folder, folder,
      folder))
    ended = test("line1.lua")
    assert.equal(0, ended.code, ended:text())
    ended = test(".")
    assert.equal("1 passed, 0 failed", ended.out[#ended.out], ended:text())
  end)

  it("says what failed, and exits with 1", function()
    hosting.write(folder .. "/line1_spec.lua", SPEC:format(80))
    local ended = test("line1_spec.lua")
    assert.equal(1, ended.code, ended:text())
    assert.match("no message on alarms/1; scripts have sent nothing", ended:text(), 1, true)
    assert.match("line1_spec.lua:8", ended:text(), 1, true)
    assert.equal("0 passed, 1 failed", ended.out[#ended.out])
    hosting.write(folder .. "/line1_spec.lua", "this is no spec")
    ended = test("line1.lua")
    assert.equal(1, ended.code, ended:text())
    assert.equal("0 passed, 1 failed", ended.out[#ended.out])
  end)

  it("passes busted's options on", function()
    hosting.write(folder .. "/line1_spec.lua", SPEC:format(95))
    local ended = test("-o", "TAP", "line1.lua", "--filter", "90 degrees")
    assert.equal(0, ended.code, ended:text())
    assert.match("^ok 1 %- the alarm is sent above 90 degrees", ended.out[1])
    assert.equal(2, test("line1.lua", "--no-such-option").code)
  end)

  it("writes a spec to start from, which passes, and leaves one that is there", function()
    local ended = test("--new", "line1.lua")
    assert.equal(0, ended.code, ended:text())
    ended = test("line1.lua")
    assert.equal(0, ended.code, ended:text())
    assert.equal("1 passed, 0 failed", ended.out[#ended.out])
    local lines = table.concat(hosting.lines(folder .. "/line1_spec.lua"), "\n")
    assert.match('{ "sensors/+/temperature" }', lines, 1, true)
    assert.equal(2, test("--new", "line1.lua").code)
    assert.equal(lines, table.concat(hosting.lines(folder .. "/line1_spec.lua"), "\n"))
    ended = test("--new", "line1_spec.lua")
    assert.equal(2, ended.code)
    assert.match("is a spec itself", ended:text(), 1, true)
  end)

  it("shows a spec to start from where there is none, and exits with 2", function()
    local ended = test("line1.lua")
    assert.equal(2, ended.code)
    assert.match("line1.lua has no spec", ended:text(), 1, true)
    assert.match("local world <close> = testing.world()", ended:text(), 1, true)
    assert.match('{ "sensors/+/temperature" }', ended:text(), 1, true)
    assert.equal(2, test("nowhere.lua").code)
    assert.equal(2, test().code)
    assert.equal(0, test("--help").code)
  end)

  it("names busted where it is missing", function()
    hosting.write(folder .. "/line1_spec.lua", SPEC:format(95))
    local ended = process.run({ program, "test", "line1.lua" }, {
      cwd = folder, env = { LUA_PATH = "./?.lua", LUA_CPATH = "./?.so" },
    })
    assert.equal(2, ended.code)
    assert.match("it needs busted (Debian's package lua-busted", ended:text(), 1, true)
  end)

  it("keeps a folder's specs from being run as scripts", function()
    hosting.write(folder .. "/line1_spec.lua", SPEC:format(95))
    local ended = process.run { program, "check", folder }
    assert.equal(0, ended.code, ended:text())
    assert.match("1 script checked, 0 refused", ended:text(), 1, true)
  end)

  it("runs the example of the module's README", function()
    local readme = table.concat(hosting.lines("scripts/iotops/README.md"), "\n")
    local example = assert(readme:match '```lua\n(local testing = require "iotops.testing".-)```')
    os.execute(("cp scripts/samples/sensor_alarm.lua '%s'"):format(folder))
    hosting.write(folder .. "/sensor_alarm_spec.lua", example)
    local ended = test("sensor_alarm.lua")
    assert.equal(0, ended.code, ended:text())
    assert.equal("1 passed, 0 failed", ended.out[#ended.out])
  end)

  it("finds the sample's spec good", function()
    local ended = process.run { program, "test", "scripts/samples/sensor_alarm.lua" }
    assert.equal(0, ended.code, ended:text())
    assert.equal("3 passed, 0 failed", ended.out[#ended.out])
  end)
end)
