local iotops = require "iotops"
local clock = require("iotops.core").clock
local process = require "process"
local standin = require "standin"

describe("a lock", function()
  local place, mine, theirs, store
  local number = 0

  setup(function()
    iotops.log.level "off"
    place = standin.place()
    mine, theirs = place:session "mine", place:session "theirs"
    store = assert(mine:state_store())
  end)

  teardown(function()
    mine:exit()
    theirs:exit()
    process.kill_all()
    iotops.log.level "info"
  end)

  local function new_name()
    number = number + 1
    return "lock" .. number
  end

  -- The same lock as two holders see it.
  local function two(options)
    local name = new_name()
    local first = { session = mine }
    for key, value in pairs(options or {}) do first[key] = value end
    return assert(iotops.lock(name, first)), assert(iotops.lock(name, { session = theirs })), name
  end

  local function refused(kind, result, err)
    assert.is_nil(result)
    assert.equal(kind, err.service_error or err.kind, tostring(err))
  end

  -- Runs `work` beside the test.
  local function beside(work)
    local done, results = iotops.event(), nil
    iotops.spawn(function()
      results = table.pack(work())
      done:set()
    end)
    return function(seconds)
      assert.is_true(done:wait(seconds or 5), "it has not ended")
      return table.unpack(results, 1, results.n)
    end
  end

  it("is taken, held by its client id and let go", function()
    local lock = two()
    assert.is_nil(lock:token())
    local token = assert(lock:lock())
    assert.equal(token, lock:token())
    assert.equal("mine", lock:holder())
    assert.equal("mine", lock:holder_name())
    assert.is_true(lock:release())
    assert.is_nil(lock:token())
    assert.same({ n = 0 }, table.pack(lock:holder()))
    assert.is_true(lock:release())
  end)

  it("is refused while another holds it, and had once that one lets go", function()
    local lock, other = two()
    assert(lock:try())
    refused("lease_already_held", other:try())
    assert.is_nil(other:token())
    assert.is_true(other:release())
    assert.equal("mine", other:holder())
    lock:release()
    assert(other:try())
    other:release()
  end)

  it("is had by the one that waits when it is released", function()
    local lock, other = two()
    assert(lock:lock { lease = 10 })
    local waited = beside(function() return other:lock { timeout = 5 } end)
    iotops.sleep(0.05)
    local begun = clock.monotonic()
    lock:release()
    assert.is_string((waited()))
    assert.is_true(clock.monotonic() - begun < 200 + 150)
    other:release()
  end)

  it("is had by the one that waits when the lease runs out", function()
    local lock, other = two()
    assert(lock:lock { lease = 0.2 })
    local begun = clock.monotonic()
    assert(other:lock { timeout = 5 })
    local took = clock.monotonic() - begun
    assert.is_true(took >= 190 and took < 200 + 50 + 200 + 150, took .. " ms")
    assert.is_string(lock:token(), "that it merely ran out does not change it")
    other:release()
  end)

  it("waits no longer than it is told, and then observes no more", function()
    local lock, other, name = two()
    assert(lock:lock())
    local begun = clock.monotonic()
    refused("timeout", other:lock { timeout = 0.15 })
    local took = clock.monotonic() - begun
    assert.is_true(took >= 145 and took < 600, took .. " ms")
    iotops.sleep(0.02)
    local ask = standin.raw(theirs)
    assert.equal(":0\r\n", (ask { "KEYNOTIFY", name, "STOP" }))
    lock:release()
  end)

  it("gives up waiting when told to", function()
    local lock, other = two()
    assert(lock:lock())
    local waited = beside(function() return other:lock() end)
    iotops.sleep(0.05)
    other:cancel()
    refused("cancellation", waited())
    lock:release()
  end)

  it("renews itself past its lease with growing tokens until it is released", function()
    local lock, other = two()
    local first = assert(lock:lock { lease = 0.3, renewal_period = 0.1 })
    local last = first
    for _ = 1, 4 do
      iotops.sleep(0.2)
      refused("lease_already_held", other:try())
      assert.is_true(clock.compare(last, lock:token()) < 0)
      last = lock:token()
    end
    lock:release()
    iotops.sleep(0.25)
    assert.is_nil((other:holder()))
  end)

  it("says that it was lost when someone else has it at renewal", function()
    local why
    local lock, _, name = two { on_lost = function(err) why = err end }
    assert(lock:lock { lease = 0.4, renewal_period = 0.1 })
    assert.is_true(store:set(name, "someone else"))
    iotops.sleep(0.3)
    assert.equal("lease_already_held", why.service_error)
    assert.is_nil(lock:token())
    lock:release()
    assert.equal("someone else", (lock:holder()))
    store:del(name)
  end)

  it("says that it was lost when it could not be renewed in time", function()
    local way = place:proxy()
    local session = place:session("cut-off", { tcp_port = way.port })
    local why
    local lock = assert(iotops.lock(new_name(), {
      session = session, request_timeout = 0.2, on_lost = function(err) why = err end,
    }))
    assert(lock:lock { lease = 0.5, renewal_period = 0.1 })
    way.close()
    local begun = clock.monotonic()
    while not why and clock.monotonic() < begun + 3000 do iotops.sleep(0.01) end
    local took = clock.monotonic() - begun
    assert.is_truthy(why)
    assert.is_true(took >= 350 and took < 1000, took .. " ms")
    assert.is_nil(lock:token())
    session:detach()
  end)

  it("protects what its token is written with from the holder before", function()
    local lock, other = two()
    local key = new_name()
    local old = assert(lock:lock { lease = 0.1 })
    assert.is_true(store:set(key, "1", { fencing_token = old }))
    local new = assert(other:lock { timeout = 3 })
    assert.is_true(clock.compare(old, new) < 0)
    assert.is_true(store:set(key, "2", { fencing_token = new }))
    refused("fencing_token_lower_version", store:set(key, "3", { fencing_token = old }))
    assert.equal("2", (store:get(key)))
    other:release()
  end)

  it("is not let go by a release under another name", function()
    local lock, other = two()
    assert(lock:lock())
    assert.is_true(other:release())
    assert.equal("mine", lock:holder())
    lock:release()
  end)

  it("tells holders of one client apart by their session ids", function()
    local name = new_name()
    local a = assert(iotops.lock(name, { session = mine, session_id = "a" }))
    local b = assert(iotops.lock(name, { session = mine, session_id = "b" }))
    assert(a:lock { lease = 0.3, renewal_period = 0.1 })
    refused("lease_already_held", b:try())
    iotops.sleep(0.35)
    assert.equal("mine:a", b:holder())
    a:release()
  end)

  it("shows its observers who holds it", function()
    local lock, other = two()
    local seen = {}
    local observation = assert(other:observe(function(change) seen[#seen + 1] = change end))
    lock:lock()
    lock:release()
    iotops.sleep(0.05)
    assert.is_true(observation:unobserve())
    assert.equal(2, #seen)
    assert.same({ true, "mine" }, { seen[1].held, seen[1].holder })
    assert.is_false(seen[2].held)
  end)

  it("goes on telling an observer after a wait of the same client has ended", function()
    local lock, other = two()
    local seen = {}
    local observation = assert(other:observe(function(change) seen[#seen + 1] = change end))
    assert(other:lock())
    assert(other:release())
    iotops.sleep(0.02)
    local count = #seen
    assert(lock:try())
    iotops.sleep(0.02)
    assert.equal(count + 1, #seen)
    observation:unobserve()
    lock:release()
  end)

  it("refuses leases and renewals that make no sense", function()
    local lock = two()
    for _, options in ipairs {
      { lease = 0 }, { lease = -1 }, { lease = 1, renewal_period = 1 },
      { lease = 1, renewal_period = 2 },
    } do
      refused("invalid configuration", lock:lock(options))
      refused("invalid configuration", lock:try(options))
    end
    refused("invalid configuration", iotops.lock("", { session = mine }))
    refused("invalid configuration", iotops.lock("n", { session = mine, holder = "" }))
    assert.has_error(function() iotops.lock("n", { session = mine, leese = 1 }) end)
  end)

  it("edits a key under the lock, from nothing, and deletes or leaves it", function()
    local lock = two()
    local key = new_name()
    local function count(value) return tostring((tonumber(value) or 0) + 1) end
    assert.is_true((lock:edit(key, count)))
    assert.is_true((lock:edit(key, count)))
    assert.equal("2", (store:get(key)))
    assert.is_true((lock:edit(key, function() return nil end)))
    assert.equal("2", (store:get(key)))
    assert.is_true((lock:edit(key, function() return iotops.null end)))
    assert.is_nil((store:get(key)))
    assert.is_true((lock:edit(key, function() return iotops.null end)))
    assert.is_nil((lock:holder()))
  end)

  it("edits once more when the lock was lost meanwhile", function()
    local lock, other = two()
    local key, rounds = new_name(), 0
    assert.is_true((lock:edit(key, function(value)
      rounds = rounds + 1
      if rounds == 1 then -- the lease runs out; another edits meanwhile
        iotops.sleep(0.15)
        assert(other:edit(key, function() return "theirs" end))
        return "lost"
      end
      return value .. " and mine"
    end, { lease = 0.1 })))
    assert.equal(2, rounds)
    assert.equal("theirs and mine", (store:get(key)))
  end)

  it("loses no edit of many at a time", function()
    local name, key = new_name(), new_name()
    local ended = {}
    for index = 1, 5 do
      local by = index % 2 == 0 and mine or theirs
      local lock = assert(iotops.lock(name, { session = by, session_id = tostring(index) }))
      ended[index] = beside(function()
        for _ = 1, 2 do
          assert(lock:edit(key, function(value) return tostring((tonumber(value) or 0) + 1) end))
        end
      end)
    end
    for _, wait in ipairs(ended) do wait(10) end
    assert.equal("10", (store:get(key)))
  end)

  it("lets coroutines that share its name edit one after the other", function()
    local name, key = new_name(), new_name()
    local ended = {}
    for index = 1, 4 do
      local lock = assert(iotops.lock(name, { session = mine }))
      ended[index] = beside(function()
        assert(lock:edit(key, function(value)
          iotops.sleep(0.01)
          return tostring((tonumber(value) or 0) + 1)
        end))
      end)
    end
    local lock = assert(iotops.lock(name, { session = mine }))
    iotops.sleep(0.005) -- the others have begun
    refused("timeout", lock:edit(key, function() return "never" end, { timeout = 0.005 }))
    for _, wait in ipairs(ended) do wait(10) end
    assert.equal("4", (store:get(key)))
  end)

  it("lets go and passes the error on when the function raises", function()
    local lock = two()
    local ok, err = pcall(lock.edit, lock, new_name(), function() error("not now", 0) end)
    assert.same({ false, "not now" }, { ok, err })
    assert.is_nil((lock:holder()))
  end)

  it("bounds an edit by its time, the wait for the lock included", function()
    local lock, other = two()
    assert(other:lock())
    refused("timeout", lock:edit(new_name(), function() return "v" end, { timeout = 0.15 }))
    other:release()
  end)
end)

describe("leader election", function()
  local place, mine, theirs, store
  local number = 0

  setup(function()
    iotops.log.level "off"
    place = standin.place()
    mine, theirs = place:session "mine", place:session "theirs"
    store = assert(mine:state_store())
  end)

  teardown(function()
    mine:exit()
    theirs:exit()
    process.kill_all()
    iotops.log.level "info"
  end)

  local function two(options)
    number = number + 1
    local name, first = "position" .. number, { session = mine }
    for key, value in pairs(options or {}) do first[key] = value end
    return assert(iotops.leader_election(name, first)),
      assert(iotops.leader_election(name, { session = theirs })), name
  end

  it("elects one; the other is elected when that one resigns", function()
    local first, second = two()
    assert.is_nil(first:last_campaign_result())
    local token = assert(first:try_campaign { term = 5 })
    assert.same({ is_leader = true, fencing_token = token }, first:last_campaign_result())
    local refused, err = second:try_campaign()
    assert.is_nil(refused)
    assert.equal("lease_already_held", err.service_error)
    assert.is_false(second:last_campaign_result().is_leader)
    assert.equal("mine", (second:get_current_leader()))
    assert.is_true(second:resign(), "resigning without leading changes nothing")
    assert.equal("mine", (second:get_current_leader()))
    iotops.spawn(function() iotops.sleep(0.05) first:resign() end)
    assert(second:campaign { timeout = 5 })
    assert.equal("theirs", (first:get_current_leader()))
    assert.is_false(first:last_campaign_result().is_leader)
    second:resign()
  end)

  it("tells of each election once, not of terms that are renewed", function()
    local first, second = two()
    local seen = {}
    local observation = assert(second:observe(function(change) seen[#seen + 1] = change end))
    assert(first:campaign { term = 0.3, renewal_period = 0.05 })
    iotops.sleep(0.3)
    first:resign()
    iotops.sleep(0.05)
    observation:unobserve()
    assert.equal(2, #seen)
    assert.same({ "leader_elected", "mine" }, { seen[1].new_state, seen[1].new_leader })
    assert.equal("no_leader", seen[2].new_state)
    assert.is_nil(seen[2].new_leader)
    assert.is_true(clock.compare(seen[1].timestamp, seen[2].timestamp) < 0)
  end)

  it("says that leadership was lost, and fences the older leader", function()
    local lost
    local first, second, name = two { on_lost = function(err) lost = err end }
    local token = assert(first:campaign { term = 0.4, renewal_period = 0.1 })
    store:vdel(name, "mine")
    local newer = assert(second:try_campaign())
    iotops.sleep(0.3)
    assert.equal("lease_already_held", lost.service_error)
    assert.is_false(first:last_campaign_result().is_leader)
    assert.is_nil(first:fencing_token())
    assert.is_true(store:set(name .. "/work", "v", { fencing_token = newer }))
    local applied, err = store:set(name .. "/work", "w", { fencing_token = token })
    assert.is_nil(applied)
    assert.equal("fencing_token_lower_version", err.service_error)
  end)

  it("updates a key as the leader and resigns", function()
    local first, _, name = two()
    assert.is_true((first:campaign_and_update(name .. "/k", function(value)
      assert.is_nil(value)
      return "v"
    end, { term = 2 })))
    assert.equal("v", (store:get(name .. "/k")))
    assert.is_nil((first:get_current_leader()))
  end)
end)
