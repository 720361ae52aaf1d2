--- What a script can do at its worst, and that nobody else notices: stop times
--- as the host measured them, beside a script that is pinged all the while.

local process = require "process"
local hosting = require "hosting"
local RUNAWAYS = require "worst"

local sanitized = require("sanitized").flags ~= ""

-- Milliseconds: the budget of a turn, and how much later it may end; under
-- sanitizers a function of C that is bounded takes longer.
local BUDGET, MARGIN = 120, sanitized and 500 or 50

-- In a script of its own each: what luv calls, what runs at the end.
local ELSEWHERE = [[
local iotops = require "iotops"
local uv = require "luv"
iotops.on_telemetry("luv", function()
  local timer = uv.new_timer()
  timer:start(1, 0, function() timer:close() while true do end end)
  local idle = uv.new_idle()
  idle:start(function() idle:close() end)
  uv.fs_stat("/", function() error("the next one is called") end)
end)
iotops.on_telemetry("spawned", function() iotops.spawn(function() while true do end end) end)
iotops.on_telemetry("timer", function() iotops.after(0, function() while true do end end) end)
iotops.on_stop(function() while true do end end)
]]

describe("a script at its worst", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("is stopped within its budget and 50 ms, and no other script notices", function()
    place = hosting.place { log_all = true }
    local scripts = { place:script("pinged", [[
      local iotops = require "iotops"
      local uv = require "luv"
      iotops.on_telemetry("ping", function(ping)
        local file = assert(io.open("FOLDER/pings", "a"))
        file:write((uv.hrtime() - ping.at) // 1000, "\n")
        file:close()
      end)
    ]]) }
    for index, runaway in ipairs(RUNAWAYS) do
      scripts[#scripts + 1] = place:script("runaway" .. index, ([[
local iotops = require "iotops"
iotops.on_telemetry("work/%d", function()
%s
end)]]):format(index, runaway[2]))
    end
    local host = place:run(scripts, { args = { "--turn-limit", tostring(BUDGET / 1000),
      "--memory-limit", "32", "--set", "keep_alive=2" } })
    hosting.record(host, "subscribed: ", #scripts)
    local env = place.broker:environment("pinger")
    local pinger = process.start({ "lua5.4", "-e", [[
      local iotops, uv = require "iotops", require "luv"
      for _ = 1, 100000 do
        iotops.send("ping", { at = uv.hrtime() })
        iotops.sleep(0.01)
      end]] }, { env = env })
    place:await_notes("pings", 10)
    for index, runaway in ipairs(RUNAWAYS) do
      place:publish("work/" .. index, "{}")
      local record = process.eventually(runaway[1] .. " is stopped", function()
        for _, each in ipairs(hosting.records(host)) do
          if each.topic == "work/" .. index and each.level == "error" then return each end
        end
        assert(not host.code, "the host has ended")
      end, 20)
      local says = runaway[3] or ("stopped: ran longer than %d ms"):format(BUDGET)
      assert.truthy(record.message:find(says, 1, true), runaway[1] .. ": " .. record.message)
      assert.truthy(record.message:find("runaway" .. index .. "%.lua:%d+: "),
        runaway[1] .. ": " .. record.message)
    end
    place:await_notes("pings", #place:noted("pings") + 20)
    pinger:signal_with("sigkill")
    host:signal_with("sigusr1")
    -- Of the processor, and by the clock: the machine may have other work.
    local spent, lasted, hindered = {}, {}, 1
    for index in ipairs(RUNAWAYS) do
      local counters = process.eventually("its counters", function()
        for _, each in ipairs(hosting.records(host)) do
          if each.message == "counters" and each.script == "runaway" .. index then
            return each
          end
        end
      end)
      spent[index], lasted[index] = counters.stopped_us / 1000, counters.longest_us / 1000
      if spent[index] > BUDGET then
        hindered = math.max(hindered, lasted[index] / spent[index])
      end
    end
    local pings = {}
    for index, line in ipairs(place:noted("pings")) do pings[index] = tonumber(line) / 1000 end
    table.sort(pings)
    local p99 = pings[math.ceil(#pings * 0.99)]
    if os.getenv("FIGURES") then
      for index, runaway in ipairs(RUNAWAYS) do
        print(("%-30s %6.1f ms, by the clock %6.1f"):format(runaway[1], spent[index],
          lasted[index]))
      end
      print(("%-30s %6.1f ms of %d, p50 %.2f, longest %.1f"):format("p99 of the other script", p99,
        #pings, pings[(#pings + 1) // 2], pings[#pings]))
    end
    for index, runaway in ipairs(RUNAWAYS) do
      assert.is_true(spent[index] <= BUDGET + MARGIN,
        ("%s: %.1f ms"):format(runaway[1], spent[index]))
    end
    assert.is_true(p99 <= (BUDGET + 2 * MARGIN) * hindered,
      ("p99 is %.1f ms"):format(p99))
    -- The connection stayed: one CONNECT, and the host disconnects at its end.
    local connects = 0
    for _, line in ipairs(place.broker:lines()) do
      if line:find("as " .. place.client_id, 1, true) then connects = connects + 1 end
      assert.falsy(line:find("Client " .. place.client_id, 1, true), line)
    end
    assert.equal(1, connects)
    hosting.stop(host)
  end)

  it("is stopped in what luv calls, in what it spawns, in timers and at its end", function()
    place = hosting.place()
    local host = place:run({ place:script("elsewhere", ELSEWHERE) },
      { args = { "--turn-limit", "0.1" } })
    place:publish("luv", "{}")
    hosting.record(host, "the luv callback failed")
    hosting.record(host, "the next one is called")
    place:publish("spawned", "{}")
    hosting.record(host, "the spawned function failed")
    place:publish("timer", "{}")
    hosting.record(host, "the timer function failed")
    hosting.stop(host)
    local stopped = {}
    for _, record in ipairs(hosting.records(host)) do
      local line = record.message:match("elsewhere%.lua:(%d+): stopped: ran longer than 100 ms")
      stopped[#stopped + 1] = tonumber(line)
    end
    assert.same({ 5, 10, 11, 12 }, stopped)
  end)

  it("gets from what is bounded what Lua's own functions give", function()
    place = hosting.place()
    local host = place:run({ place:script("same", [[
      local iotops = require "iotops"
      local function numbers(n)
        local t = {}
        for i = 1, n do t[i] = i end
        return t
      end
      local function same(a, b)
        assert(#a == #b, #a .. " and " .. #b)
        for i = 1, #b do assert(a[i] == b[i], i) end
      end
      iotops.on_start(function()
        for _, n in ipairs { 3, 999, 1000, 1001, 1002, 5000 } do
          for _, to in ipairs { -2, 1, 2, n // 2, n, n + 1 } do
            local moved, wanted = numbers(n), numbers(n)
            for i = 1, n do wanted[to + i - 1] = i end
            assert(table.move(moved, 1, n, to) == moved)
            for i = math.min(1, to), n + to do assert(moved[i] == wanted[i], i) end
          end
          local other = {}
          assert(table.move(numbers(n), 1, n, 1, other) == other)
          same(other, numbers(n))
          local t = numbers(n)
          table.insert(t, 1, 0)
          table.insert(t, n + 1, "x")
          assert(#t == n + 2 and t[1] == 0 and t[2] == 1 and t[n + 1] == "x" and t[n + 2] == n)
          assert(table.remove(t, n + 1) == "x" and table.remove(t, 1) == 0)
          same(t, numbers(n))
          assert(table.remove(t) == n and #t == n - 1 and table.remove(t, n) == nil)
          assert(not pcall(table.insert, t, n + 2, 1) and not pcall(table.remove, t, n + 2))
          local words = {}
          for i = 1, n do words[i] = ("%05d"):format((i * 7919) % n) end
          table.sort(words)
          for i = 2, n do assert(words[i - 1] <= words[i]) end
          t = numbers(n)
          table.sort(t, function(a, b) return a > b end)
          assert(t[1] == n and t[n] == 1)
          local text = ""
          for i = 1, n do text = text .. (i > 1 and "," or "") .. i end
          assert(table.concat(numbers(n), ",") == text)
          assert(table.concat(numbers(n), ",", n) == tostring(n))
          t[n] = {}
          local ok, err = pcall(table.concat, t)
          local wanted = "invalid value (table) at index " .. n .. " in table"
          assert(not ok and err:find(wanted, 1, true), err)
          local filled = ""
          for i = 1, n do filled = filled .. (i > 1 and ".-" or "") .. "abc" end
          assert(("abc"):rep(n, ".-") == filled and #("abc"):rep(n) == 3 * n)
          assert((""):rep(n, "z") == ("z"):rep(n - 1))
          local chunk = "local t = {...}" .. ("t[#t + 1] = x\n"):rep(n) .. "return #t, x"
          local size, x = assert(load(chunk, "=big", "t", { x = 1 }))(0)
          assert(size == n + 1 and x == 1)
          assert(select(2, load(chunk .. " oops(", "=big")):find("^big:" .. n + 1 .. ":"))
        end
        table.sort(numbers(200000))
        assert(not pcall(table.sort, { 1, "x" }) and not pcall(table.concat, 1))
        assert(not pcall(table.insert, 1, 2) and not pcall(table.move, {}, 1, 2))
        for _, within in ipairs {
          function() ("x"):gsub("x", function() iotops.sleep(0) end) end,
          function() table.sort({ 2, 1, 3 }, function() iotops.sleep(0) end) end,
          function() table.sort({ "2", "1" }, function() iotops.sleep(0) end) end,
        } do
          local ok, err = pcall(within)
          assert(not ok and tostring(err):find("iotops.spawn", 1, true), err)
        end
        error("all the same")
      end)
      iotops.on_telemetry("none", function() end)
    ]]) }, { args = { "--turn-limit", "10" } })
    local record = hosting.record(host, "the on_start function failed")
    assert.truthy(record.message:find("all the same", 1, true), record.message)
    hosting.stop(host)
  end)
end)

