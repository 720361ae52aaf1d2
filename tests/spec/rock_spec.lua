local broker = require "broker"
local process = require "process"

local SCRIPT = [[
local iotops = require "iotops"
iotops.send("rock/test", { from = "the rock" })
]]

describe("the rock", function()
  after_each(process.kill_all)

  it("builds from a clean checkout and sends a message in two lines", function()
    local folder = process.folder()
    local tree = folder .. "/tree"
    local function run(command, options)
      options = options or {}
      options.seconds = 120
      local ended = process.run(command, options)
      assert.equal(0, ended.code, ended:text())
      return ended
    end
    -- What git knows, plus changes not committed yet.
    run { "sh", "-c", "git ls-files -z -co --exclude-standard | "
      .. "xargs -0 cp --parents -t " .. folder }
    run({ "luarocks", "--lua-version=5.4", "--tree=" .. tree, "make",
      "rocks/iotops-scm-1.rockspec" }, { cwd = folder, env = { SANITIZE = false } })

    local private = broker.start()
    local file = assert(io.open(folder .. "/two_lines.lua", "w"))
    file:write(SCRIPT)
    file:close()
    local watch = process.start({ "stdbuf", "-oL", "mosquitto_sub", "-V", "5",
      "-p", tostring(private.port), "-t", "rock/test", "-C", "1", "-W", "20", "-d" })
    watch:line("Subscribed")
    local env = private:environment("rock")
    env.LUA_PATH = tree .. "/share/lua/5.4/?.lua;" .. tree .. "/share/lua/5.4/?/init.lua;;"
    env.LUA_CPATH = tree .. "/lib/lua/5.4/?.so;;"
    run({ "lua5.4", folder .. "/two_lines.lua" }, { env = env })
    assert.match('"the rock"', (watch:line("the rock")))
    -- Tests of scripts need the rock and busted alone.
    local tested = run({ "lua5.4", folder .. "/tests/busted_54.lua",
      folder .. "/scripts/samples/sensor_alarm_spec.lua" }, { env = env })
    assert.match("ok 3 ", tested:text(), 1, true)
    private:stop()
    os.execute("rm -rf " .. folder)
  end)
end)
