local iotops = require "iotops"

-- Runs `work` as a spawned function to its end; returns what it returned.
local function spawned(work, ...)
  local done, results = iotops.event(), nil
  iotops.spawn(function(...)
    results = table.pack(pcall(work, ...))
    done:set()
  end, ...)
  assert.is_true(done:wait(5), "the spawned function did not end")
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- A loaded machine may be slow; no test passes because it is fast.
local function eventually(done)
  local limit = iotops.now() + 5
  while not done() do
    assert.is_true(iotops.now() < limit, "not within 5 s")
    iotops.sleep(0.002)
  end
end

describe("waiting", function()
  setup(function() iotops.log.level "off" end)
  teardown(function() iotops.log.level "info" end)

  it("runs the loop in the main chunk of a plain Lua", function()
    local ticks = 0
    local timer = iotops.every(0.005, function() ticks = ticks + 1 end)
    eventually(function() return ticks >= 5 end)
    timer:cancel()
  end)

  it("gives spawned functions their arguments, nil among them", function()
    assert.same({ n = 3, 1, nil, "x" }, table.pack(spawned(function(...)
      iotops.sleep(0.001)
      return ...
    end, 1, nil, "x")))
  end)

  it("lets others run meanwhile", function()
    local order = {}
    spawned(function()
      local ended = iotops.event()
      iotops.spawn(function()
        iotops.sleep(0.02)
        order[#order + 1] = "second"
        ended:set()
      end)
      iotops.sleep(0.005)
      order[#order + 1] = "first"
      ended:wait()
    end)
    assert.same({ "first", "second" }, order)
  end)

  it("passes through pcall, xpcall and error handlers", function()
    spawned(function()
      local ok, err = pcall(function()
        iotops.sleep(0.001)
        error("after", 0)
      end)
      assert.same({ false, "after" }, { ok, err })
      assert.is_true(xpcall(iotops.sleep, debug.traceback, 0.001))
    end)
  end)

  it("passes through iterators and metamethods that are Lua functions", function()
    spawned(function()
      local slow = setmetatable({}, { __index = function(_, name)
        iotops.sleep(0.001)
        return name
      end })
      assert.equal("x", slow.x)
      local seen = {}
      for i in function(_, last)
        iotops.sleep(0.001)
        return last < 3 and last + 1 or nil
      end, nil, 0 do
        seen[#seen + 1] = i
      end
      assert.same({ 1, 2, 3 }, seen)
    end)
  end)

  for _, place in ipairs { "a spawned function", "the main chunk" } do
    local function run(work)
      if place == "the main chunk" then return work() end
      return spawned(work)
    end

    it("works inside the coroutines of a script, in " .. place, function()
      run(function()
        local co = coroutine.create(function(a)
          iotops.sleep(0.001)
          local b = coroutine.yield(a + 1)
          iotops.sleep(0.001)
          return b * 2
        end)
        assert.same({ true, 2 }, { coroutine.resume(co, 1) })
        assert.equal("suspended", coroutine.status(co))
        assert.same({ true, 20 }, { coroutine.resume(co, 10) })
        assert.equal("dead", coroutine.status(co))
      end)
    end)

    it("works three coroutines deep, in " .. place, function()
      run(function()
        local function layer(depth)
          return coroutine.wrap(function()
            if depth == 0 then
              iotops.sleep(0.001)
              coroutine.yield "deep"
              iotops.sleep(0.001)
              return "end"
            end
            local inner = layer(depth - 1)
            coroutine.yield(inner())
            return inner()
          end)
        end
        local outer = layer(3)
        assert.equal("deep", outer())
        assert.equal("end", outer())
      end)
    end)

    it("hands errors of a waiting coroutine to whoever resumed it, in " .. place, function()
      run(function()
        local co = coroutine.create(function()
          iotops.sleep(0.001)
          error("inside", 0)
        end)
        assert.same({ false, "inside" }, { coroutine.resume(co) })
        assert.equal("dead", coroutine.status(co))
        local wrapped = coroutine.wrap(function()
          iotops.sleep(0.001)
          error { code = 5 }
        end)
        local ok, err = pcall(wrapped)
        assert.same({ false, { code = 5 } }, { ok, err })
      end)
    end)
  end

  it("is refused where Lua cannot yield, naming what to do", function()
    spawned(function()
      local tries = {
        gsub = function() return ("x"):gsub("x", function() iotops.sleep(0.001) end) end,
        sort = function()
          table.sort({ 2, 1 }, function(a, b)
            iotops.sleep(0.001)
            return a < b
          end)
        end,
        require = function()
          package.preload.waiting_module = function() iotops.sleep(0.001) end
          require "waiting_module"
        end,
        -- The inner coroutine could yield, but what resumed it cannot.
        nested = function()
          return ("x"):gsub("x", coroutine.wrap(function() iotops.sleep(0.001) end))
        end,
      }
      for name, try in pairs(tries) do
        local ok, err = pcall(try)
        assert.is_false(ok, name)
        assert.match("iotops%.spawn", err, 1, name)
      end
    end)
  end)

  it("protects a waiting coroutine from being resumed or closed by others", function()
    spawned(function()
      local co, done = nil, iotops.event()
      iotops.spawn(function()
        co = coroutine.create(function() iotops.sleep(0.03) return "slept" end)
        local ok, result = coroutine.resume(co)
        assert.same({ true, "slept" }, { ok, result })
        done:set()
      end)
      iotops.sleep(0.01)
      assert.equal("normal", coroutine.status(co))
      assert.same({ false, "cannot resume a coroutine that waits" }, { coroutine.resume(co) })
      assert.is_false(pcall(coroutine.close, co))
      assert.is_true(done:wait(1))
    end)
  end)

  it("protects the coroutines of calls, too", function()
    spawned(function()
      local thread
      iotops.spawn(function()
        thread = coroutine.running()
        iotops.sleep(0.03)
      end)
      iotops.sleep(0.01)
      assert.is_false((coroutine.resume(thread)))
      assert.is_false(pcall(coroutine.close, thread))
      iotops.sleep(0.05)
    end)
  end)

  it("keeps resume, wrap, close and status as Lua has them otherwise", function()
    local dead = coroutine.create(function() end)
    coroutine.resume(dead)
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(dead) })
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    assert.is_true(coroutine.close(co))
    assert.same({ false, "cannot resume non-suspended coroutine" },
      { coroutine.resume(coroutine.running()) })
    local failing = coroutine.wrap(function() error "here" end)
    local ok, err = pcall(function() failing() end)
    assert.is_false(ok)
    assert.match("waiting_spec%.lua:%d+: .*waiting_spec%.lua:%d+: here", err)
    local closed
    local closing = coroutine.create(function()
      local guard <close> = setmetatable({}, { __close = function() closed = true end })
      coroutine.yield(guard)
    end)
    coroutine.resume(closing)
    coroutine.close(closing)
    assert.is_true(closed)
    assert.has_error(function() coroutine.resume "no coroutine" end)
  end)

  it("ends a function that yields outside a coroutine of its own", function()
    local after = false
    iotops.spawn(function()
      coroutine.yield "nobody takes this"
      after = true
    end)
    iotops.sleep(0.01)
    assert.is_false(after)
    spawned(function() iotops.sleep(0.001) end) -- its coroutine serves again
  end)

  it("says so when nothing is under way that could end a wait", function()
    local ok, err = pcall(function() iotops.event():wait() end)
    assert.is_false(ok)
    assert.match("nothing is under way", err)
    iotops.sleep(0.001)
  end)

  it("reuses coroutines of ended calls, also of those that failed", function()
    local seen, count = {}, 0
    for i = 1, 200 do
      spawned(function()
        local thread = coroutine.running()
        if not seen[thread] then seen[thread], count = true, count + 1 end
        iotops.sleep(0)
      end)
      iotops.spawn(function() error("for the pool " .. i) end)
      iotops.sleep(0)
    end
    assert.is_true(count < 10, count .. " coroutines")
  end)
end)

describe("events", function()
  it("wake all that wait, once set, and nobody after a reset", function()
    local event, woken = iotops.event(), 0
    for _ = 1, 5 do iotops.spawn(function()
      event:wait()
      woken = woken + 1
    end) end
    iotops.sleep(0.005)
    assert.equal(0, woken)
    event:set()
    eventually(function() return woken == 5 end)
    assert.is_true(event:wait())
    event:reset()
    assert.is_false(event:is_set())
    assert.is_false(event:wait(0.005))
  end)
end)

describe("timers", function()
  setup(function() iotops.log.level "off" end)
  teardown(function() iotops.log.level "info" end)

  it("fire once after their time, in order, and can be cancelled", function()
    local order = {}
    iotops.after(0.02, function() order[#order + 1] = "b" end)
    iotops.after(0.01, function() order[#order + 1] = "a" end)
    local never = iotops.after(0.01, function() order[#order + 1] = "never" end)
    assert.is_true(never:cancel())
    assert.is_false(never:cancel())
    eventually(function() return #order == 2 end)
    iotops.sleep(0.02)
    assert.same({ "a", "b" }, order)
  end)

  it("leave out a tick that finds the last call unfinished", function()
    local running, most = 0, 0
    local timer = iotops.every(0.005, function()
      running = running + 1
      most = math.max(most, running)
      iotops.sleep(0.02)
      running = running - 1
    end)
    iotops.sleep(0.1)
    timer:cancel()
    assert.equal(1, most)
    iotops.sleep(0.03)
  end)

  it("go on after an error in their function", function()
    local ticks = 0
    local timer = iotops.every(0.005, function()
      ticks = ticks + 1
      error "tick"
    end)
    eventually(function() return ticks > 2 end)
    timer:cancel()
  end)

  it("live as long as they run, and no longer", function()
    local fired = false
    iotops.after(0.01, function() fired = true end)
    collectgarbage()
    eventually(function() return fired end)
    local weak = setmetatable({}, { __mode = "k" })
    do
      local big = {}
      weak[big] = true
      iotops.every(100, function() return big end):cancel()
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("refuse times that are none", function()
    assert.has_error(function() iotops.after(-1, print) end)
    assert.has_error(function() iotops.after(0 / 0, print) end)
    assert.has_error(function() iotops.every(0, print) end)
    assert.has_error(function() iotops.sleep "soon" end)
    assert.has_error(function() iotops.after(1) end)
  end)
end)

describe("errors", function()
  it("are objects whose text reads well", function()
    local err = iotops.error { kind = "timeout", message = "too late", timeout_name = "t" }
    assert.is_true(iotops.is_error(err))
    assert.is_false(iotops.is_error { kind = "timeout" })
    assert.equal("timeout: too late", tostring(err))
    assert.equal("t", err.timeout_name)
    assert.has_error(function() iotops.error { kind = "no such kind", message = "x" } end)
  end)
end)
