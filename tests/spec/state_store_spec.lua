local iotops = require "iotops"
local clock = require("iotops.core").clock
local process = require "process"
local standin = require "standin"

describe("the state store", function()
  local place, session, store, other

  setup(function()
    iotops.log.level "off"
    place = standin.place { "--max-keys", "600" }
    session = place:session "client-id1"
    store = assert(session:state_store())
    other = assert(place:session("client-id2"):state_store())
  end)

  teardown(function()
    session:exit()
    process.kill_all()
    iotops.log.level "info"
  end)

  local number = 0

  -- A key that no other test has used.
  local function new_key()
    number = number + 1
    return "key" .. number
  end

  local function refused(kind, result, err)
    assert.is_nil(result)
    assert.equal("service error", err.kind, tostring(err))
    assert.equal(kind, err.service_error, tostring(err))
  end

  -- A token `seconds` from now.
  local function token(seconds, counter)
    return ("%d:%d:tester"):format(math.floor((iotops.now() + seconds) * 1000), counter or 0)
  end

  -- Observes a key; the changes are collected.
  local function observed(by, key, options)
    local seen = {}
    local observation = assert(by:observe(key, options or {}, function(change)
      seen[#seen + 1] = change
    end))
    return seen, observation
  end

  local function until_seen(seen, count)
    local limit = iotops.now() + 5
    while #seen < count do
      assert.is_true(iotops.now() < limit, #seen .. " of " .. count .. " changes")
      iotops.sleep(0.005)
    end
  end

  local function later(a, b)
    assert.is_true(clock.compare(a, b) < 0, ("%s is not before %s"):format(a, b))
  end

  it("gives neither value nor version for a key that is missing", function()
    assert.same({ n = 0 }, table.pack(store:get(new_key())))
  end)

  it("tells an empty value from none", function()
    local key = new_key()
    assert.is_true(store:set(key, ""))
    local value, version = store:get(key)
    assert.equal("", value)
    assert.is_number(clock.parse(version))
  end)

  it("leaves the value alone when NX finds one, and says its version", function()
    local key = new_key()
    local _, first = store:set(key, "a")
    local applied, version = store:set(key, "b", { condition = "nx" })
    assert.is_false(applied)
    assert.equal(first, version)
    assert.same({ "a", first }, { store:get(key) })
  end)

  it("renews an equal value with NEX and refuses another", function()
    local key = new_key()
    local _, first = store:set(key, "v")
    local applied, second = store:set(key, "v", { condition = "nex" })
    assert.is_true(applied)
    later(first, second)
    assert.same({ false, second }, { store:set(key, "w", { condition = "nex" }) })
  end)

  it("gives versions that grow within one millisecond, past the request's clock", function()
    local key, last = new_key(), "0:0:x"
    for _ = 1, 50 do
      local _, version = store:set(key, "v")
      later(last, version)
      last = version
    end
    local value, version = other:get(key)
    assert.same({ "v", last }, { value, version })
  end)

  it("forgets a key in time and tells its observers DELETE", function()
    local key = new_key()
    local seen, observation = observed(other, key)
    local begun = clock.monotonic()
    store:set(key, "v", { expiry_ms = 150 })
    until_seen(seen, 2)
    local took = clock.monotonic() - begun
    assert.is_true(took >= 150 and took <= 200 + 50, took .. " ms")
    assert.same({ "SET", "DELETE" }, { seen[1].operation, seen[2].operation })
    later(seen[1].version, seen[2].version)
    assert.is_nil((store:get(key)))
    assert.is_true(store:set(key, "again", { condition = "nx" }))
    observation:unobserve()
  end)

  it("makes a key permanent that is set without expiry, and restarts it with one", function()
    local permanent, restarted = new_key(), new_key()
    for _, key in ipairs { permanent, restarted } do store:set(key, "v", { expiry_ms = 100 }) end
    store:set(permanent, "v")
    store:set(restarted, "v", { expiry_ms = 400 })
    iotops.sleep(0.2)
    assert.equal("v", (store:get(permanent)))
    assert.equal("v", (store:get(restarted)))
    iotops.sleep(0.3)
    assert.is_nil((store:get(restarted)))
  end)

  it("deletes: 1 with the version of what is gone, 0 without", function()
    local key = new_key()
    assert.same({ n = 2, 0 }, table.pack(store:del(key)))
    local _, version = store:set(key, "v")
    assert.same({ 1, version }, { store:del(key) })
  end)

  it("deletes a value that is equal: missing 0, other -1, equal 1", function()
    local key = new_key()
    assert.equal(0, (store:vdel(key, "v")))
    local _, version = store:set(key, "v")
    assert.same({ -1, version }, { store:vdel(key, "w") })
    assert.same({ 1, version }, { store:vdel(key, "v") })
    assert.is_nil((store:get(key)))
  end)

  describe("guards a fenced key:", function()
    it("set, in each case of the table", function()
      local key = new_key()
      local old, first, second = token(-3), token(-2), token(-1)
      assert.is_true(store:set(key, "1", { fencing_token = first }))
      refused("missing_fencing_token", store:set(key, "2"))
      refused("fencing_token_lower_version", store:set(key, "2", { fencing_token = old }))
      assert.is_true(store:set(key, "2", { fencing_token = first }))
      assert.is_true(store:set(key, "3", { fencing_token = second }))
      refused("fencing_token_lower_version", store:set(key, "4", { fencing_token = first }))
      assert.equal("3", (store:get(key)))
    end)

    it("an unfenced key takes a token and is fenced from then on", function()
      local key = new_key()
      assert.is_true(store:set(key, "1"))
      assert.is_true(store:set(key, "2", { fencing_token = token(-1) }))
      refused("missing_fencing_token", store:set(key, "3"))
    end)

    it("del and vdel, in each case of the table", function()
      local old, good, newer = token(-3), token(-2), token(-1)
      for _, call in ipairs {
        function(key, options) return store:del(key, options) end,
        function(key, options) return store:vdel(key, "v", options) end,
      } do
        local key, free = new_key(), new_key()
        store:set(free, "v")
        assert.equal(1, (call(free, { fencing_token = old }))) -- without a fence: ignored
        store:set(key, "v", { fencing_token = good })
        refused("missing_fencing_token", call(key))
        refused("fencing_token_lower_version", call(key, { fencing_token = old }))
        assert.equal(1, (call(key, { fencing_token = newer })))
        assert.is_true(store:set(key, "v"), "the fence goes with the entry")
      end
    end)

    it("the fence wins over the condition, and a good token over nothing else", function()
      local key, good = new_key(), token(-1)
      store:set(key, "v", { fencing_token = good })
      refused("missing_fencing_token", store:set(key, "w", { condition = "nx" }))
      refused("missing_fencing_token", store:vdel(key, "w"))
      assert.equal(-1, (store:vdel(key, "w", { fencing_token = good })))
      assert.is_false((store:set(key, "w", { condition = "nx", fencing_token = token(0) })))
      -- What was not applied has left the fence as it was.
      assert.is_true(store:set(key, "v", { fencing_token = good }))
    end)

    it("the counter and the node decide between tokens of one millisecond", function()
      local key, ms = new_key(), math.floor(iotops.now() * 1000)
      store:set(key, "v", { fencing_token = ms .. ":5:b" })
      refused("fencing_token_lower_version", store:set(key, "v", { fencing_token = ms .. ":4:z" }))
      refused("fencing_token_lower_version", store:set(key, "v", { fencing_token = ms .. ":5:a" }))
      assert.is_true(store:set(key, "v", { fencing_token = ms .. ":00005:b" }))
    end)

    it("reading, observing and scanning need no token", function()
      local key = new_key()
      store:set(key, "v", { fencing_token = token(-1) })
      assert.equal("v", (store:get(key)))
      assert(assert(store:observe(key, function() end)):unobserve())
      assert.same({ key }, assert(store:scan(key)):next())
    end)

    it("expiry takes the fence along", function()
      local key = new_key()
      store:set(key, "v", { fencing_token = token(-1), expiry_ms = 20 })
      iotops.sleep(0.1)
      assert.is_true(store:set(key, "v"))
    end)
  end)

  it("refuses a token that is too far ahead, on every command that changes", function()
    local key, ahead = new_key(), { fencing_token = token(120) }
    refused("fencing_token_skew", store:set(key, "v", ahead))
    refused("fencing_token_skew", store:del(key, ahead))
    refused("fencing_token_skew", store:vdel(key, "v", ahead))
  end)

  it("notifies each applied change, also an equal one, in order of versions", function()
    local key = new_key()
    local seen, observation = observed(store, key)
    for index = 1, 3 do store:set(key, index < 3 and "same" or "new") end
    store:set(key, "not applied", { condition = "nx" })
    store:del(key)
    store:del(key)
    assert.is_true(observation:unobserve())
    assert.equal(4, #seen)
    for index = 1, 4 do
      assert.equal(key, seen[index].key)
      assert.equal(index < 4 and "SET" or "DELETE", seen[index].operation)
      if index > 1 then later(seen[index - 1].version, seen[index].version) end
    end
    assert.equal("new", seen[3].value)
    assert.is_nil(seen[4].value)
  end)

  it("tells several observers of a key, and goes on until the last has gone", function()
    local key = new_key()
    local first, one = observed(store, key)
    local second, two = observed(store, key)
    local elsewhere, three = observed(other, key)
    store:set(key, "a")
    until_seen(first, 1)
    until_seen(second, 1)
    until_seen(elsewhere, 1)
    one:unobserve()
    store:set(key, "b")
    until_seen(second, 2)
    assert.is_true(two:unobserve())
    store:set(key, "c")
    until_seen(elsewhere, 3)
    assert.same({ 1, 2, 3 }, { #first, #second, #elsewhere })
    assert.is_false(two:unobserve())
    three:unobserve()
  end)

  it("acknowledges a change when told to, and goes on meanwhile", function()
    local key, held = new_key(), {}
    local observation = assert(store:observe(key, { manual_ack = true }, function(change)
      held[#held + 1] = change.ack
    end))
    for index = 1, 3 do store:set(key, tostring(index)) end
    until_seen(held, 3)
    assert.is_true(session:metrics().unacked >= 3)
    for _, ack in ipairs(held) do assert.is_true(ack()) end
    assert.is_false(held[1]())
    iotops.sleep(0.05)
    assert.equal(0, session:metrics().unacked)
    observation:unobserve()
  end)

  it("runs one handler of an observation at a time, in order", function()
    local key, order, running = new_key(), {}, 0
    local observation = assert(store:observe(key, function(change)
      running = running + 1
      assert(running == 1)
      iotops.sleep(0.01)
      order[#order + 1] = change.value
      running = running - 1
    end))
    for index = 1, 5 do store:set(key, tostring(index)) end
    until_seen(order, 5)
    assert.same({ "1", "2", "3", "4", "5" }, order)
    observation:unobserve()
  end)

  it("keeps keys and values byte by byte, up to the sizes of the reference", function()
    local bytes = {}
    for byte = 0, 255 do bytes[#bytes + 1] = string.char(byte) end
    local all = table.concat(bytes) .. "\r\n$-1\r\n\0"
    local key, value = all:rep(25):sub(1, 6500), all:rep(300):sub(1, 65000)
    local seen, observation = observed(other, key)
    assert.is_true(store:set(key, value))
    assert.is_true(value == (other:get(key)))
    until_seen(seen, 1)
    assert.is_true(seen[1].key == key and seen[1].value == value)
    observation:unobserve()
    assert.equal(1, (store:vdel(key, value)))
  end)

  it("scans in pages, which together are the matches", function()
    local wanted = {}
    for index = 1, 250 do
      wanted[index] = ("a%03d"):format(index)
      store:set(wanted[index], "v")
    end
    store:set("b", "v")
    local scan, pages, found = assert(store:scan "a*"), 0, {}
    for page in function() return scan:next() end do
      pages = pages + 1
      table.move(page, 1, #page, #found + 1, found)
    end
    assert.equal(3, pages)
    assert.same(wanted, found)
    assert.is_nil((scan:next()))
    local again = {}
    for key in store:keys "a*" do again[#again + 1] = key end
    assert.same(wanted, again)
    for _, key in ipairs(wanted) do store:del(key) end
  end)

  it("matches patterns of every kind", function()
    local keys = { "p/a1", "p/b2", "p/ä", "p/*", "p/[", "p/a]", "p/\xFF" }
    for _, key in ipairs(keys) do store:set(key, "v") end
    local function matches(pattern)
      local found = {}
      for key in store:keys(pattern) do found[#found + 1] = key end
      return table.concat(found, " ")
    end
    assert.equal("p/* p/[ p/a1 p/a] p/b2 p/ä", matches "p/*")
    assert.equal("p/* p/[ p/ä", matches "p/?")
    assert.equal("p/a1 p/b2", matches "p/[a-c][0-9]")
    assert.equal("p/[ p/ä", matches "p/[!*]")
    assert.equal("p/*", matches "p/[*]")
    assert.equal("p/[", matches "p/[[]")
    assert.equal("p/a]", matches "p/?[]]")
    assert.equal("p/a1", matches "p*1")
    assert.equal("", matches "P/*")
    assert.equal("", matches "p/[a")
    assert.equal("", matches "p/\xFF*")
    assert.equal("", matches "p")
    for _, key in ipairs(keys) do store:del(key) end
  end)

  it("goes back over what a star has taken, in bounded time", function()
    local key = ("a"):rep(2000)
    store:set(key, "v")
    local begun = clock.monotonic()
    assert.same({}, assert(store:scan(("a*"):rep(50) .. "b")):next())
    assert.is_true(clock.monotonic() - begun < 1000)
    store:del(key)
  end)

  it("asks for one page at a time", function()
    local scan = assert(store:scan "*")
    local failed
    iotops.spawn(function() failed = select(2, scan:next()) end)
    assert(scan:next())
    iotops.sleep(0.02)
    assert.equal("invalid state", failed.kind)
  end)

  it("reads many keys, missing ones among them, each result in its place", function()
    local one, two = new_key(), new_key()
    store:set(one, "1")
    store:set(two, "2")
    local results = store:get_many({ two, "missing", one, "" }, { concurrency = 2 })
    assert.equal("2", results[1].value)
    assert.is_nil(results[2].value or results[2].err)
    assert.equal("1", results[3].value)
    assert.equal("invalid configuration", results[4].err.kind)
    assert.same({}, store:get_many {})
  end)

  it("lets exactly one of two win a race", function()
    for _ = 1, 20 do
      local key, applied, done = new_key(), 0, iotops.event()
      local left = 2
      for _, by in ipairs { store, other } do
        iotops.spawn(function()
          if by:set(key, "v", { condition = "nx" }) then applied = applied + 1 end
          left = left - 1
          if left == 0 then done:set() end
        end)
      end
      done:wait(5)
      assert.equal(1, applied)
    end
  end)

  it("refuses before asking what cannot be asked", function()
    for _, failed in ipairs {
      table.pack(store:get ""), table.pack(store:set("", "v")), table.pack(store:del ""),
      table.pack(store:vdel("", "v")), table.pack(store:observe("", function() end)),
      table.pack(store:scan ""), table.pack(store:set("k", "v", { expiry_ms = 0 })),
      table.pack(store:set("k", "v", { expiry_ms = -1 })),
      table.pack(store:set("k", "v", { fencing_token = "rubbish" })),
      table.pack(store:get("k", { timeout = 0 })),
      table.pack(store:observe(("k"):rep(33000), function() end)),
    } do
      assert.is_nil(failed[1])
      assert.equal("invalid configuration", failed[2].kind, tostring(failed[2]))
      assert.is_true(failed[2].is_shallow)
    end
    assert.has_error(function() store:set("k", "v", { conditions = "nx" }) end)
    assert.has_error(function() store:set("k", "v", { condition = "never" }) end)
  end)

  it("refuses keys past the quota, and others once there is room", function()
    local count, made = 0, {}
    for key in store:keys "*" do count = count + (key and 1 or 0) end
    for index = count + 1, 600 do
      made[#made + 1] = "q" .. index
      assert.is_true(store:set(made[#made], "v"))
    end
    -- Keys that are no text are not listed but do count.
    local applied, err
    for index = 1, 3 do
      applied, err = store:set("q+" .. index, "v")
      if not applied then break end
      made[#made + 1] = "q+" .. index
    end
    refused("key_quota_exceeded", applied, err)
    assert.is_true(store:set(made[1], "w"))
    for _, key in ipairs(made) do store:del(key) end
    assert.is_true(store:set(new_key(), "v"))
  end)

  it("registers again after a lost connection and tells where the key stands", function()
    local way = place:proxy()
    local third = place:session("client-id3", { tcp_port = way.port })
    local key, gone = new_key(), new_key()
    store:set(gone, "v")
    local seen, observation = observed(assert(third:state_store()), key)
    local deleted = observed(assert(third:state_store()), gone)
    way.cut()
    store:set(key, "missed")
    store:del(gone)
    until_seen(seen, 1)
    until_seen(deleted, 1)
    assert.same({ "SET", "missed" }, { seen[#seen].operation, seen[#seen].value })
    assert.equal("DELETE", deleted[1].operation)
    -- What the broker had kept and what the key is read as may both say "missed".
    store:set(key, "after")
    local told = {}
    repeat
      until_seen(seen, #told + 1)
      told[#told + 1] = seen[#told + 1].value
    until told[#told] == "after"
    for index = 1, #told - 1 do assert.equal("missed", told[index]) end
    assert.is_true(observation:unobserve())
    third:exit()
    way.close()
  end)

  it("ends observations with the connection when asked to", function()
    local way = place:proxy()
    local fourth = place:session("client-id4", { tcp_port = way.port })
    local ended
    local closing = assert(fourth:state_store { on_disconnect = "close" })
    local observation = assert(closing:observe(new_key(), {
      on_end = function() ended = true end,
    }, function() end))
    way.cut()
    local limit = iotops.now() + 5
    while not ended and iotops.now() < limit do iotops.sleep(0.01) end
    assert.is_true(ended)
    assert.is_false(observation:unobserve())
    closing:close()
    fourth:exit()
    way.close()
  end)

  it("fails in time when nobody answers", function()
    local lonely = standin.place()
    lonely:stop()
    local alone = lonely:session "alone"
    local begun = clock.monotonic()
    local value, err = assert(alone:state_store()):get("k", { timeout = 0.3 })
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.is_true(clock.monotonic() - begun < 1500)
    alone:exit()
  end)
end)
