package.path = "tests/faults/?.lua;" .. package.path
local check = require "rivals_check"
local hosting = require "hosting"
local iotops = require "iotops"
local process = require "process"
local rivals = require "rivals"
local standin = require "standin"

describe("the check of a lock's history", function()
  local function version(ms) return ms .. ":0:s" end

  -- One that is as it should be, for each test to spoil.
  local function history()
    return {
      lock = {
        { value = "a", version = version(1) }, { value = "a", version = version(2) },
        { version = version(4) }, { value = "b", version = version(5) },
      },
      work = {
        { value = "a 1 1:0:s", version = version(3) },
        { value = "b 1 5:0:s", version = version(6) },
      },
      lines = {
        { rival = "a", kind = "grant", text = version(1) },
        { rival = "a", kind = "write", number = "1", text = version(1) },
        { rival = "a", kind = "ok", number = "1", text = version(3) },
        { rival = "b", kind = "grant", text = version(5) },
        { rival = "b", kind = "write", number = "1", text = version(5) },
        { rival = "b", kind = "ok", number = "1", text = version(6) },
        { rival = "a", kind = "write", number = "2", text = version(2) },
        { rival = "a", kind = "refused", number = "2", text = "fencing_token_lower_version" },
      },
    }
  end

  it("finds nothing wrong with one that is right", function()
    assert.same({}, check.violations(history()))
  end)

  for what, spoil in pairs {
    ["two holders at a time"] = function(all) table.remove(all.lock, 3) end,
    ["a write of a stale holder after one of the next"] = function(all)
      all.work[3] = { value = "a 2 2:0:s", version = version(7) }
      all.lines[8].kind, all.lines[8].text = "ok", version(7)
    end,
    ["a grant that nobody saw"] = function(all) all.lines[1].text = version(9) end,
    ["a write that was answered but not applied"] = function(all) table.remove(all.work, 1) end,
    ["a write that was refused but applied"] = function(all)
      all.lines[6] = { rival = "b", kind = "refused", number = "1",
        text = "fencing_token_lower_version" }
    end,
    ["a refusal without a newer write"] = function(all) all.lines[7].text = version(8) end,
    ["versions that go back"] = function(all) all.lock[4].version = version(3) end,
    ["a write that was applied twice"] = function(all)
      all.work[3] = { value = "b 1 5:0:s", version = version(7) }
    end,
  } do
    it("finds " .. what, function()
      local spoilt = history()
      spoil(spoilt)
      assert.is_true(#check.violations(spoilt) > 0)
    end)
  end
end)

describe("rivals for one lock", function()
  after_each(function()
    process.kill_all()
    iotops.log.level "info"
  end)

  it("keep its history in order while they are stopped, killed and started again", function()
    local refused
    local seed = 0
    repeat -- chance may stop nobody at the right moment
      seed = seed + 1
      local history, counts = rivals.run(6, seed)
      assert.same({}, check.violations(history))
      assert.is_true((counts.grant or 0) >= 3, "grants: " .. (counts.grant or 0))
      assert.is_true((counts.ok or 0) >= 30, "writes: " .. (counts.ok or 0))
      refused = counts.fencing_token_lower_version or 0
    until refused > 0 or seed == 4
    assert.is_true(refused > 0, "no stale write was tried")
  end)

  it("have another leader within the term and a second when the leader is killed", function()
    iotops.log.level "off"
    local place = standin.place()
    local term = 2
    local function candidate(name)
      local env = place.broker:environment(name)
      env.TERM_SECONDS = tostring(term)
      return process.start({ hosting.program, "run", "scripts/samples/leader.lua" }, { env = env })
    end
    local first = candidate "one"
    first:line "I lead"
    local second = candidate "two"
    second:line "command/notify"
    local witness = place:session "witness"
    local store = assert(witness:state_store())
    process.eventually("some work", function()
      return (tonumber((store:get "samples/leader/ticks")) or 0) >= 1
    end)
    local killed = iotops.now()
    first:signal_with "sigkill"
    second:line("I lead", term + 1)
    assert.is_true(iotops.now() - killed <= term + 1)
    local before = tonumber((store:get "samples/leader/ticks"))
    process.eventually("more work", function()
      return tonumber((store:get "samples/leader/ticks")) > before
    end)
    -- It goes on counting where the first had stopped.
    assert.equal("two", (store:get "samples/leader"):match "^[^:]+")
    hosting.stop(second)
    assert.is_nil((store:get "samples/leader"), "it resigns when it is told to stop")
    witness:exit()
  end)
end)
