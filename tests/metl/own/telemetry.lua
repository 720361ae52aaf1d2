--- Telemetry, beyond what the cases say.

local function receiver(t, options)
  options.topic_pattern = options.topic_pattern or "flow/{meter}"
  local made = assert(t.session:receiver(options))
  t.must(function()
    return made:start()
  end)
  return made
end

local function sender(t, options)
  options = options or {}
  options.topic_pattern = options.topic_pattern or "flow/m1"
  return assert(t.session:sender(options))
end

return {
  { "held messages are acknowledged by hand, in order of receipt",
    function(t)
      local held = {}
      receiver(t, { handler = function(_, message)
        held[#held + 1] = message:hold()
      end })
      local first = t.deliver({ topic = "flow/m1" })
      local second = t.deliver({ topic = "flow/m2" })
      t.equal("handled", 2, #held)
      held[2]:ack()
      t.stub.drain()
      t.equal("acknowledgements", 0, t.stub.ack_count())
      held[1]:ack()
      t.equal("first", first, t.acknowledged())
      t.equal("second", second, t.acknowledged())
      t.equal("once more", false, held[1]:ack())
      t.stub.drain()
      t.equal("acknowledgements", 2, t.stub.ack_count())
    end },

  { "a message that cannot be read is acknowledged, held ones or not",
    function(t)
      local held
      receiver(t, { handler = function(_, message)
        held = message:hold()
      end })
      local bad = t.deliver({ topic = "flow/m1", payload = "{" })
      t.equal("acknowledged", bad, t.acknowledged())
      t.equal("handled", nil, held)
      local good = t.deliver({ topic = "flow/m1" })
      held:ack()
      t.equal("acknowledged", good, t.acknowledged())
    end },

  { "a shared receiver takes what comes by the plain topic", function(t)
    local seen
    receiver(t, { service_group_id = "meters", handler = function(value)
      seen = value
    end })
    t.equal("subscribed", true, t.stub.subscribed("$share/meters/flow/+"))
    t.acknowledged(t.deliver({ topic = "flow/m1", payload = "7" }))
    t.equal("handled", 7, seen)
  end },

  { "messages are handled one at a time, in order", function(t)
    local go, order = t.event(), {}
    receiver(t, { handler = function(value)
      order[#order + 1] = value
      go:wait()
      order[#order + 1] = -value
    end })
    t.deliver({ topic = "flow/m1", payload = "1" })
    t.deliver({ topic = "flow/m1", payload = "2" })
    t.equal("under way", "1", table.concat(order, " "))
    go:set()
    t.stub.drain()
    t.equal("order", "1 -1 2 -2", table.concat(order, " "))
  end },

  { "concurrency lets handlers overlap, acknowledgements keep their order",
    function(t)
      local go, order = t.event(), {}
      receiver(t, { concurrency = 2, handler = function(value)
        if value == 1 then
          go:wait()
        end
        order[#order + 1] = value
      end })
      local first = t.deliver({ topic = "flow/m1", payload = "1" })
      local second = t.deliver({ topic = "flow/m1", payload = "2" })
      t.equal("acknowledgements", 0, t.stub.ack_count())
      go:set()
      t.equal("first", first, t.acknowledged())
      t.equal("second", second, t.acknowledged())
      t.equal("order", "2 1", table.concat(order, " "))
    end },

  { "a handler that fails has handled its message", function(t)
    local count = 0
    receiver(t, { handler = function()
      count = count + 1
      error("the meter is upside down")
    end })
    local id = t.deliver({ topic = "flow/m1" })
    t.equal("acknowledged", id, t.acknowledged())
    t.equal("handled", 1, count)
  end },

  { "a message of two receivers is acknowledged when both are done",
    function(t)
      local go = t.event()
      receiver(t, { topic_pattern = "flow/m1", handler = function()
        go:wait()
      end })
      receiver(t, { handler = function() end })
      local id = t.deliver({ topic = "flow/m1" })
      t.equal("acknowledgements", 0, t.stub.ack_count())
      go:set()
      t.equal("acknowledged", id, t.acknowledged())
      t.equal("acknowledgements", 1, t.stub.ack_count())
    end },

  { "a persistent message is retained and says so", function(t)
    local meter = sender(t)
    t.must(function()
      return meter:send(1, { persist = true })
    end)
    local message = t.published()
    t.equal("retained", true, message.retain)
    t.equal("mark", "true", t.property(message, "aio-persistence"))
    t.must(function()
      return meter:send(1)
    end)
    message = t.published()
    t.equal("retained", false, message.retain)
    t.equal("mark", nil, t.property(message, "aio-persistence"))
    local _, err = t.call(function()
      return meter:send(1, { persist = true, retain = false })
    end)
    t.equal("both", "persist", err and err.property_name)
  end },

  { "time and subject of a CloudEvent can be left out", function(t)
    local meter = sender(t)
    t.must(function()
      return meter:send(1, {
        cloud_event = { source = "urn:m1", time = false, subject = false },
      })
    end)
    local message = t.published()
    t.equal("type", "ms.aio.telemetry", t.property(message, "type"))
    t.equal("time", nil, t.property(message, "time"))
    t.equal("subject", nil, t.property(message, "subject"))
  end },

  { "sends leave in the order of the calls", function(t)
    local meter = sender(t)
    local all = {}
    for value = 1, 20 do
      all[value] = t.begin(function()
        return meter:send(value)
      end)
    end
    for value = 1, 20 do
      t.equal("payload", tostring(value), t.published().payload)
      t.equal("sent", true, (t.result(all[value])))
    end
  end },

  { "a receiver whose stop was refused can be stopped again",
    { push_acks = { unsubscribe = { "fail" } } },
    function(t)
      local made = receiver(t, { handler = function() end })
      local _, err = t.call(function()
        return made:stop()
      end)
      t.equal("refused", "mqtt error", err and err.kind)
      t.must(function()
        return made:stop()
      end)
    end },
}
