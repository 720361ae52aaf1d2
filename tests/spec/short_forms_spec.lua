local broker = require "broker"
local process = require "process"
local iotops = require "iotops"

describe("short forms", function()
  local private, here, there

  local function session(client_id, options)
    local all = {
      hostname = "127.0.0.1", tcp_port = private.port, use_tls = false,
      client_id = client_id, clean_start = true,
    }
    for name, value in pairs(options or {}) do all[name] = value end
    return assert(iotops.session(all))
  end

  -- Runs `work` in a call of its own; an error fails the test.
  local function spawned(work)
    local done, ok, err = iotops.event(), nil, nil
    iotops.spawn(function()
      ok, err = xpcall(work, function(raised)
        return iotops.is_error(raised) and raised or debug.traceback(tostring(raised), 2)
      end)
      done:set()
    end)
    assert.is_true(done:wait(10), "the spawned function did not end")
    if not ok then error(tostring(err), 0) end
  end

  -- Declarations do not wait for the broker; what a test sends next might be
  -- there before the subscription.
  local function granted(endpoint)
    assert(endpoint:start())
    return endpoint
  end

  -- Collects what arrives for a pattern.
  local function collect(on, pattern, options)
    local arrived = { event = iotops.event() }
    local endpoint = on:on_telemetry(pattern, options or {}, function(value, message)
      arrived[#arrived + 1] = { value = value, message = message }
      arrived.event:set()
      arrived.event:reset()
    end)
    granted(endpoint)
    function arrived:wait(count)
      local limit = iotops.now() + 5
      while #self < count do
        assert.is_true(iotops.now() < limit, #self .. " of " .. count .. " arrived")
        iotops.sleep(0.005)
      end
    end
    return arrived, endpoint
  end

  setup(function()
    private = broker.start()
    here, there = session "here", session "there"
    iotops.log.level "off"
    assert(here:wait())
    assert(there:wait())
  end)
  teardown(function()
    here:exit()
    there:exit()
    iotops.log.level "info"
    private:stop()
    process.kill_all()
  end)

  describe("for telemetry", function()
    it("carry values, tokens and properties", function()
      local arrived = collect(there, "t1/{room}/temperature")
      here:send("t1/{room}/temperature", { celsius = 21.5, count = 1 << 60 }, {
        tokens = { room = "kitchen" }, user_data = { { "a", "1" }, { "b", "2" }, { "a", "3" } },
        cloud_event = { source = "dtmi:test:x;1" },
      })
      arrived:wait(1)
      local value, message = arrived[1].value, arrived[1].message
      assert.same({ celsius = 21.5, count = 1 << 60 }, value)
      assert.equal("t1/kitchen/temperature", message.topic)
      assert.same({ room = "kitchen" }, message.tokens)
      assert.equal("here", message.sender_id)
      assert.equal("application/json", message.content_type)
      assert.equal(1, message.format_indicator)
      assert.equal(1, message.qos)
      assert.is_false(message.retain)
      assert.match("^%d+:%d+:", message.timestamp)
      assert.equal("3", message.user_data.a)
      assert.is_nil(message.user_data.c)
      local own = {}
      for _, pair in ipairs(message.user_data) do
        if #pair[1] == 1 then own[#own + 1] = pair end
      end
      assert.same({ { "a", "1" }, { "b", "2" }, { "a", "3" } }, own)
      local event = assert(message:cloud_event())
      assert.equal("dtmi:test:x;1", event.source)
      assert.equal("ms.aio.telemetry", event.type)
      assert.equal("t1/kitchen/temperature", event.subject)
    end)

    it("bind {senderId} to us unless tokens say otherwise", function()
      local arrived = collect(there, "t2/{senderId}/x")
      here:send("t2/{senderId}/x", 1)
      here:send("t2/{senderId}/x", 2, { tokens = { senderId = "other" } })
      arrived:wait(2)
      assert.equal("here", arrived[1].message.tokens.senderId)
      assert.equal("other", arrived[2].message.tokens.senderId)
    end)

    it("raise the error object, and name what is missing", function()
      local ok, err = pcall(here.send, here, "t3/{room}", 1)
      assert.is_false(ok)
      assert.is_true(iotops.is_error(err))
      assert.equal("invalid configuration", err.kind)
      assert.equal("room", err.property_name)
      ok, err = pcall(here.send, here, "t3//x", 1)
      assert.is_false(ok)
      assert.equal("topic_pattern", err.property_name)
      ok, err = pcall(here.send, here, "t3/x", print)
      assert.is_false(ok)
      assert.equal("invalid payload", err.kind)
      assert.is_true(err.is_shallow)
      ok, err = pcall(here.on_telemetry, here, "t3//x", print)
      assert.is_false(ok)
      assert.equal("topic_pattern", err.property_name)
    end)

    it("say at the caller's line what is misused", function()
      local function misuse(part, ...)
        local call = table.pack(...)
        local ok, err = pcall(function() call[1](table.unpack(call, 2, call.n)) end)
        assert.is_false(ok)
        assert.match("short_forms_spec%.lua:%d+: ", err)
        assert.match(part, err)
      end
      misuse("unknown option 'expirey'", here.send, here, "x", 1, { expirey = 1 })
      misuse("option 'expiry': seconds", here.send, here, "x", 1, { expiry = "1" })
      misuse("a topic pattern expected", here.send, here, nil, 1)
      misuse("a function expected", here.on_telemetry, here, "x")
      misuse("option 'concurrency': an integer", here.on_telemetry, here, "x",
        { concurrency = 1.5 }, print)
      misuse("on_error", here.on_telemetry, here, "x", { on_error = "what" }, print)
      misuse("'retries'", here.on_telemetry, here, "x", { on_error = "retry", retries = -1 }, print)
      misuse("table of options expected", iotops.session, 5)
      misuse("serializer", here.on_telemetry, here, "x", { serializer = "json" }, print)
    end)

    it("handle messages one at a time and in order, whatever handlers wait", function()
      local order, running = {}, 0
      granted(there:on_telemetry("t4/{n}", function(value)
        running = running + 1
        assert.equal(1, running)
        iotops.sleep((6 - value) * 0.004)
        order[#order + 1] = value
        running = running - 1
      end))
      for n = 1, 5 do here:send("t4/" .. n, n) end
      process.eventually("five messages", function()
        iotops.sleep(0.01)
        return #order == 5
      end)
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("handle several at a time with concurrency", function()
      local running, most = 0, 0
      granted(there:on_telemetry("t5/{n}", { concurrency = 4 }, function()
        running = running + 1
        most = math.max(most, running)
        iotops.sleep(0.05)
        running = running - 1
      end))
      for n = 1, 4 do here:send("t5/" .. n, n) end
      iotops.sleep(0.1)
      assert.equal(4, most)
    end)

    it("acknowledge what was held only when told to", function()
      local holds = {}
      granted(there:on_telemetry("t6", { concurrency = 3 }, function(_, message)
        holds[#holds + 1] = message:hold()
        assert.has_error(function() message:hold() end)
      end))
      for n = 1, 3 do here:send("t6", n) end
      process.eventually("three messages", function()
        iotops.sleep(0.01)
        return #holds == 3
      end)
      assert.equal(3, there:metrics().unacked)
      assert.is_true(holds[3]:ack())
      assert.is_false(holds[3]:ack())
      assert.equal(3, there:metrics().unacked)
      holds[1]:ack()
      iotops.sleep(0.02) -- acknowledgements of one turn leave together
      assert.equal(2, there:metrics().unacked)
      holds = nil -- forgotten: acknowledged, and logged
      collectgarbage()
      collectgarbage()
      iotops.sleep(0.02)
      assert.equal(0, there:metrics().unacked)
    end)

    it("refuse to hold a message outside its handler", function()
      local kept
      local arrived = iotops.event()
      granted(there:on_telemetry("t7", function(_, message)
        kept = message
        arrived:set()
      end))
      here:send("t7", 1)
      arrived:wait(5)
      iotops.sleep(0.01)
      assert.has_error(function() kept:hold() end)
      assert.equal("t7", kept.topic) -- everything else stays
    end)

    it("acknowledge a message whose handler throws", function()
      local arrived = iotops.event()
      granted(there:on_telemetry("t8", function()
        arrived:set()
        error "no"
      end))
      here:send("t8", 1)
      assert.is_true(arrived:wait(5))
      iotops.sleep(0.02)
      assert.equal(0, there:metrics().unacked)
    end)

    it("try again and give up to a dead letter", function()
      local tries = 0
      local letters = collect(there, "dead/{x}")
      granted(there:on_telemetry("t9/{x}", {
        on_error = "retry", retries = 2, retry_pause = 0.01, dead_letter = "dead/{x}",
      }, function()
        tries = tries + 1
        error "never works"
      end))
      here:send("t9/a", { n = 5 }, { user_data = { trace = "t" } })
      letters:wait(1)
      assert.equal(3, tries)
      assert.same({ n = 5 }, letters[1].value)
      assert.equal("dead/a", letters[1].message.topic)
      assert.match("never works", letters[1].message.user_data.deadLetterReason)
      assert.equal("t9/a", letters[1].message.user_data.deadLetterTopic)
      assert.equal("t", letters[1].message.user_data.trace)
      iotops.sleep(0.02)
      assert.equal(0, there:metrics().unacked)
    end)

    it("stop trying again once a try works", function()
      local tries, letters = 0, collect(there, "dead2")
      granted(there:on_telemetry("t10", {
        on_error = "retry", retry_pause = 0.001, dead_letter = "dead2",
      }, function()
        tries = tries + 1
        if tries < 3 then error "not yet" end
      end))
      here:send("t10", 1)
      iotops.sleep(0.1)
      assert.equal(3, tries)
      assert.equal(0, #letters)
    end)

    it("drop and acknowledge payloads that cannot be read", function()
      local arrived = collect(there, "t11")
      here:send("t11", "{", { serializer = iotops.raw })
      here:send("t11", "text", { serializer = { serialize = function(text)
        return text, "text/plain", 1
      end, deserialize = tostring } })
      here:send("t11", { ok = true })
      arrived:wait(1)
      assert.same({ ok = true }, arrived[1].value)
      assert.equal(0, there:metrics().unacked)
    end)

    it("take raw bytes, nothing, and serializers of a script", function()
      local raw = collect(there, "t12/raw", { serializer = iotops.raw })
      here:send("t12/raw", "\0\255", { serializer = iotops.raw })
      raw:wait(1)
      assert.equal("\0\255", raw[1].value)
      assert.equal("application/octet-stream", raw[1].message.content_type)

      local empty = collect(there, "t12/empty", { serializer = iotops.empty })
      here:send("t12/empty", nil, { serializer = iotops.empty })
      empty:wait(1)
      assert.is_nil(empty[1].value)
      assert.is_nil(empty[1].message.content_type)

      local seen
      local reverse = {
        serialize = function(value) return value:reverse(), "text/plain", 1 end,
        deserialize = function(bytes, content_type, indicator)
          seen = { content_type, indicator }
          if bytes == "raise" then error "raised" end
          return bytes:reverse()
        end,
      }
      local custom = collect(there, "t12/custom", { serializer = reverse })
      here:send("t12/custom", "raise", { serializer = iotops.raw })
      here:send("t12/custom", "abc", { serializer = reverse })
      custom:wait(1)
      assert.equal("abc", custom[1].value)
      assert.same({ "text/plain", 1 }, seen)
    end)

    it("use the namespace of the session", function()
      local spaced = session("spaced", { topic_namespace = "ns/one" })
      local arrived = collect(there, "ns/one/t13")
      spaced:send("t13", 1)
      arrived:wait(1)
      spaced:send("t13", 2, { topic_namespace = "ns/two" })
      iotops.sleep(0.02)
      assert.equal(1, #arrived)
      assert(spaced:exit())
    end)

    it("keep no more senders than they say, however many patterns there are", function()
      spawned(function()
        for n = 1, 600 do here:send("t14/" .. n, n, { qos = 0 }) end
      end)
    end)

    it("stop receiving when their endpoint is stopped", function()
      local arrived, endpoint = collect(there, "t15")
      here:send("t15", 1)
      arrived:wait(1)
      assert(endpoint:stop())
      assert(endpoint:stop())
      here:send("t15", 2)
      iotops.sleep(0.02)
      assert.equal(1, #arrived)
    end)

    it("wait for room when the queue is full", function()
      local small = session("small", { publish_queue_qos1 = 5, max_inflight = 1 })
      local arrived = collect(there, "t16", { concurrency = 100 })
      local sent = 0
      for n = 1, 50 do
        iotops.spawn(function()
          small:send("t16", n)
          sent = sent + 1
        end)
      end
      arrived:wait(50)
      iotops.sleep(0.02)
      assert.equal(50, sent)
      assert(small:exit())
    end)
  end)

  describe("for commands", function()
    setup(function()
      granted(there:on_command("c/{executorId}/add", function(request, message)
        return { sum = request.a + request.b }, { user_data = { invoker = message.invoker_id } }
      end))
    end)

    it("answer, and bind {executorId} to the one that executes", function()
      local value, response = here:invoke("c/{executorId}/add", { a = 1, b = 2 },
        { tokens = { executorId = "there" } })
      assert.same({ sum = 3 }, value)
      assert.equal(200, response.status)
      assert.equal("there", response.executor_id)
      assert.equal("here", response.user_data.invoker)
      assert.equal(36, #response.correlation_id)
    end)

    it("leave {executorId} open when asked to", function()
      granted(there:on_command("c1/{executorId}/any", { tokens = { executorId = iotops.any } },
        function(_, message) return message.tokens.executorId end))
      assert.equal("whoever", (here:invoke("c1/{executorId}/any", {},
        { tokens = { executorId = "whoever" } })))
    end)

    it("bind {invokerClientId} to us", function()
      granted(there:on_command("c2/{invokerClientId}/me", function(_, message)
        return message.tokens.invokerClientId
      end))
      assert.equal("here", (here:invoke("c2/{invokerClientId}/me", {})))
    end)

    it("report a handler that throws as an execution error, without our files", function()
      granted(there:on_command("c3/fail", function() error "broken pump" end))
      local ok, err = pcall(here.invoke, here, "c3/fail", {})
      assert.is_false(ok)
      assert.equal("execution error", err.kind)
      assert.is_true(err.is_remote)
      assert.match("broken pump", err.message)
      assert.not_match("traceback", err.message)
      assert.equal("fail", err.command_name)
    end)

    it("report nil and an error, nothing, and what cannot be written likewise", function()
      local results = {
        refused = function() return nil, "no water" end,
        nothing = function() end,
        unwritable = function() return print end,
        misused = function() return 1, { userdata = {} } end,
        event = function() return 1, { cloud_event = { source = "" } } end,
      }
      local texts = {
        refused = "no water", nothing = "returned nothing", unwritable = "function",
        misused = "unknown option 'userdata'", event = "",
      }
      for name, handler in pairs(results) do granted(there:on_command("c4/" .. name, handler)) end
      for name, text in pairs(texts) do
        local ok, err = pcall(here.invoke, here, "c4/" .. name, {})
        assert.is_false(ok, name)
        assert.equal("execution error", err.kind, name)
        assert.match(text, err.message, 1, name)
      end
    end)

    it("return application errors next to the value", function()
      granted(there:on_command("c5/apply", function()
        return { accepted = false }, { application_error = { code = "busy", payload = "[1]" } }
      end))
      local value, response = here:invoke("c5/apply", {})
      assert.is_false(value.accepted)
      assert.same({ "busy", "[1]" }, { response:application_error() })
    end)

    it("answer with nothing when the format is empty", function()
      granted(there:on_command("c6/reset", { response_serializer = iotops.empty }, function() end))
      local value, response = here:invoke("c6/reset", {}, { response_serializer = iotops.empty })
      assert.equal(iotops.null, value)
      assert.equal(204, response.status)
    end)

    it("time out", function()
      local ok, err = pcall(here.invoke, here, "c7/nobody", {}, { timeout = 1 })
      assert.is_false(ok)
      assert.equal("timeout", err.kind)
      assert.equal("command_timeout", err.timeout_name)
      assert.equal(1, err.timeout_value)
    end)

    it("tell a handler that it has been given up", function()
      local cancelled
      granted(there:on_command("c8/slow", { execution_timeout = 0.05 }, function(_, request)
        assert.is_false(request:is_cancelled())
        iotops.sleep(0.1)
        cancelled = request:is_cancelled()
        return 1
      end))
      local ok, err = pcall(here.invoke, here, "c8/slow", {})
      assert.is_false(ok)
      assert.equal("timeout", err.kind)
      iotops.sleep(0.1)
      assert.is_true(cancelled)
    end)

    it("run many at once, from handlers too", function()
      granted(there:on_command("c9/twice", function(request)
        iotops.sleep(0.01)
        local value = here:invoke("c/{executorId}/add", { a = request, b = request },
          { tokens = { executorId = "there" } })
        return value
      end))
      local left = 100
      for n = 1, 100 do
        iotops.spawn(function()
          assert(here:invoke("c9/twice", n).sum == 2 * n)
          left = left - 1
        end)
      end
      process.eventually("100 answers", function()
        iotops.sleep(0.01)
        return left == 0
      end)
    end)

    it("want the name of the command", function()
      assert.has_error(function() here:on_command("{executorId}", function() end) end)
      local endpoint = here:on_command("{executorId}", { command_name = "x" }, function() end)
      assert(endpoint:stop())
    end)
  end)

  describe("for envoys made by hand", function()
    it("return nil and the error instead of raising", function()
      local sender, err = here:sender { topic_pattern = "bad//pattern" }
      assert.is_nil(sender)
      assert.equal("topic_pattern", err.property_name)
      sender = assert(here:sender { topic_pattern = "e1/{x}" })
      local ok
      ok, err = sender:send(1)
      assert.is_nil(ok)
      assert.equal("x", err.property_name)
      sender:close()
      assert.has_error(function() sender:send(1) end)
    end)

    it("start and stop when told to", function()
      local values, arrived = {}, iotops.event()
      local receiver = assert(there:receiver {
        topic_pattern = "e2", handler = function(value)
          values[#values + 1] = value
          arrived:set()
        end,
      })
      local sender = assert(here:sender { topic_pattern = "e2" })
      assert(sender:send(1))
      assert(receiver:start())
      assert(receiver:start())
      assert(sender:send(2))
      assert.is_true(arrived:wait(5))
      assert.same({ 2 }, values)
      assert(receiver:stop())
    end)

    it("cancel what is pending when stopped", function()
      local invoker = assert(here:invoker { command_name = "x", request_topic_pattern = "e3/x" })
      local err
      iotops.spawn(function() err = select(2, invoker:invoke {}) end)
      iotops.sleep(0.02)
      assert.equal(1, invoker:pending())
      assert(invoker:stop())
      iotops.sleep(0.01)
      assert.equal("cancellation", err.kind)
      assert.equal(0, invoker:pending())
      err = select(2, invoker:invoke {})
      assert.equal("cancellation", err.kind)
    end)
  end)
end)
