-- How often: 500 times in `make test`, RELOADS times in `make soak`.

local process = require "process"
local hosting = require "hosting"
local flow = require "flow"

local RELOADS = tonumber(os.getenv "RELOADS") or 500
local WARM = RELOADS // 5
local SANITIZED = require("sanitized").flags ~= ""
local RATE = 1200 -- messages a second

-- One script hands its state over, the other has none.
local KEEPS = [[
  local count = 0
  iotops.handoff {
    save = function()
      local poison = io.open("FOLDER/poison")
      if poison then return { [poison:read("a")] = print } end
      return { count = count }
    end,
    restore = function(data) count = data.count %s end,
  }
]]

local function text(name, version, rest)
  local stateful = name == "keeps"
  return ([[
    local iotops = require "iotops"
    local notes = assert(io.open("FOLDER/%s", "a"))
    notes:setvbuf("line")
    %s
    iotops.on_telemetry("work", function(value)
      %s
      notes:write(tostring(value.n), " %s ", %s, "\n")
    end)
  ]]):format(name .. ".notes", stateful and KEEPS:format(rest or "") or "",
    stateful and "count = count + 1" or "", version, stateful and "count" or "0")
end

-- What a broken version is; the log names its round.
local BROKEN = {
  { text = function(round) return ("round%d round%d"):format(round, round) end },
  { text = function(round) return ("error 'not today, round%d'"):format(round) end },
  { text = function(round) return ("require 'no.such.round%d'"):format(round) end },
  { text = function(round) return text("keeps", -round, ("error 'no, round%d'"):format(round)) end,
    stateful = true },
  { text = function(round) return text("keeps", -round) end, stateful = true, poison = true },
}

local function resident(pid)
  local file = assert(io.open(("/proc/%d/status"):format(pid)))
  local kib = tonumber(file:read("a"):match("VmRSS:%s*(%d+) kB"))
  file:close()
  return kib
end

local function median(values)
  table.sort(values)
  return values[#values // 2 + 1]
end

describe("a reload at any time", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it(("loses, doubles and disorders nothing and leaks nothing: %d times, one in five broken")
    :format(RELOADS), function()
    place = hosting.place()
    local host = place:run({
      place:script("keeps", text("keeps", 0)), place:script("plain", text("plain", 0)),
    }, { args = { "--probation", "0" } })
    hosting.record(host, "subscribed: ", 2)
    local poison = place.folder .. "/poison"
    local stream = flow.start(place, "work", RATE)
    local generations = { keeps = 1, plain = 1 }
    local early, late, failed, mend = {}, {}, 0, nil
    for round = 1, RELOADS do
      -- What was broken is mended first: SIGHUP tries it again.
      local name = mend or (round % 2 == 0 and "keeps" or "plain")
      mend = nil
      if round % 5 == 0 then
        local broken = BROKEN[round // 5 % #BROKEN + 1]
        if broken.stateful then name = "keeps" end
        if broken.poison then hosting.write(poison, "round" .. round) end
        place:script(name, broken.text(round))
        host:signal_with("sighup")
        local line = host:line(("cannot reload.*round%d%%D"):format(round), 20)
        local serves = ("still serving generation %d\\n"):format(generations[name])
        assert.truthy(line:find(serves, 1, true), line)
        failed, mend = failed + 1, name
      else
        place:script(name, text(name, round))
        os.remove(poison)
        host:signal_with("sighup")
        host:line('"reloaded: ', 20)
        generations[name] = generations[name] + 1
      end
      process.pass(0.005) -- messages come between two reloads as well
      if round > WARM and round <= WARM + 50 then early[#early + 1] = resident(host.pid) end
      if round > RELOADS - 50 then late[#late + 1] = resident(host.pid) end
    end
    local sent, rate = stream:finish()
    for name, generation in pairs(generations) do
      local done = place:await_notes(name .. ".notes", sent, 20)
      process.pass(0.1)
      assert.equal(sent, #place:noted(name .. ".notes"))
      local last = 0
      for index, line in ipairs(done) do
        local n, version, count = line:match("^(%d+) (%d+) (%d+)$")
        assert.equal(index, tonumber(n))
        if name == "keeps" then assert.equal(index, tonumber(count)) end
        version = tonumber(version)
        assert.is_true(version >= last, "an old version handled after a new one")
        last = version
      end
      assert.is_true(generation > 1)
    end
    assert.is_true(rate >= 1000, "too few messages a second to mean anything: " .. rate)
    local grown = median(late) / median(early)
    -- A sanitizer keeps what was freed.
    assert.is_true(SANITIZED or grown < 1.01,
      ("resident memory has grown %.3f times, from %d to %d KiB"):format(
        grown, median(early), median(late)))
    hosting.stop(host)
    local reloads, failures = 0, 0
    for nth = 1, 2 do
      local counters = hosting.record(host, "counters", nth)
      assert.equal(sent, tonumber(counters.handled))
      reloads = reloads + counters.reloads
      failures = failures + counters.failed_reloads
    end
    -- The watch may have been quicker than SIGHUP, which tries again.
    assert.is_true(failures >= failed)
    assert.equal(RELOADS - failed, reloads)
  end)
end)
