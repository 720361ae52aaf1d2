--- Commands, beyond what the cases say.

local iotops = require "iotops"

---@param t table # own_bench.lua
local function executor(t, options)
  options.command_name = options.command_name or "set"
  options.request_topic_pattern = options.request_topic_pattern or "fan/set"
  local made = assert(t.session:executor(options))
  t.must(function()
    return made:start()
  end)
  return made
end

local function invoker(t, options)
  options = options or {}
  options.command_name = "set"
  options.request_topic_pattern = "fan/set"
  options.response_topic_prefix = "answers"
  return assert(t.session:invoker(options))
end

-- The response to the request that was published last.
local function answer(t, request, message)
  message.topic = request.response_topic
  message.correlation_data = request.correlation_data
  message.content_type = "application/json"
  message.user_properties = message.user_properties
    or { { name = "__stat", value = "200" } }
  return t.deliver(message)
end

return {
  { "a response that cannot be serialized is an error of the handler",
    function(t)
      executor(t, { handler = function()
        return { print }
      end })
      local id = t.request({ topic = "fan/set" })
      local response = t.published()
      t.equal("status", "500", t.property(response, "__stat"))
      t.equal("mark", "true", t.property(response, "__apErr"))
      t.equal("acknowledged", id, t.acknowledged())
    end },

  { "a handler that returns nothing has failed", function(t)
    executor(t, { handler = function() end })
    t.request({ topic = "fan/set" })
    local response = t.published()
    t.equal("status", "500", t.property(response, "__stat"))
    t.equal("mark", "true", t.property(response, "__apErr"))
  end },

  { "a handler that returns an error has failed with its text", function(t)
    executor(t, { handler = function()
      return nil, iotops.error({ message = "the fan is stuck" })
    end })
    t.request({ topic = "fan/set" })
    local response = t.published()
    t.equal("status", "500", t.property(response, "__stat"))
    t.equal("text is there", true,
      t.property(response, "__stMsg"):find("the fan is stuck") ~= nil)
  end },

  { "integers of 64 bits pass through a command exactly", function(t)
    executor(t, { handler = function(value)
      return value + 1
    end })
    t.request({ topic = "fan/set", payload = "9007199254740993" })
    t.equal("payload", "9007199254740994", t.published().payload)
  end },

  { "an application error travels with a success", function(t)
    executor(t, { handler = function()
      return { ok = false },
        { application_error = { code = "E7", payload = "[1]" } }
    end })
    t.request({ topic = "fan/set" })
    local response = t.published()
    t.equal("status", "200", t.property(response, "__stat"))
    t.equal("code", "E7", t.property(response, "AppErrCode"))
    t.equal("payload", "[1]", t.property(response, "AppErrPayload"))
  end },

  { "an application error is read from a success", function(t)
    local caller = invoker(t)
    local call = t.begin(function()
      local _, response = assert(caller:invoke(1))
      return { response:application_error() }
    end)
    answer(t, t.published(), { user_properties = {
      { name = "__stat", value = "200" },
      { name = "AppErrCode", value = "E7" },
      { name = "AppErrPayload", value = "[1]" },
    } })
    local seen = t.result(call)
    t.equal("code", "E7", seen[1])
    t.equal("payload", "[1]", seen[2])
  end },

  { "a CloudEvent of a request takes the defaults of requests", function(t)
    local caller = invoker(t)
    local call = t.begin(function()
      return caller:invoke(1, { cloud_event = { source = "urn:panel" } })
    end)
    local request = t.published()
    t.equal("source", "urn:panel", t.property(request, "source"))
    t.equal("type", "ms.aio.rpc.request", t.property(request, "type"))
    t.equal("subject", "fan/set", t.property(request, "subject"))
    t.equal("version", "1.0", t.property(request, "specversion"))
    answer(t, request, {})
    t.equal("value", 1, (t.result(call)))
  end },

  { "a CloudEvent passes through request and response", function(t)
    local seen
    executor(t, { handler = function(_, request)
      seen = request:cloud_event()
      return 2, { cloud_event = { source = "urn:fan", id = "b" } }
    end })
    t.request({
      topic = "fan/set",
      content_type = "application/json",
      user_properties = {
        { name = "source", value = "urn:panel" },
        { name = "type", value = "turn" },
        { name = "specversion", value = "1.0" },
        { name = "id", value = "a" },
      },
    })
    local response = t.published()
    t.equal("id of the request's event", "a", seen and seen.id)
    t.equal("its content type", "application/json",
      seen and seen.data_content_type)
    t.equal("id of the response's event", "b", t.property(response, "id"))
    t.equal("its type", "ms.aio.rpc.response", t.property(response, "type"))
    t.equal("its subject", "answers", t.property(response, "subject"))
  end },

  { "a shared executor answers what comes by the plain topic", function(t)
    executor(t, { service_group_id = "fans", handler = function(value)
      return value
    end })
    t.equal("subscribed", true, t.stub.subscribed("$share/fans/fan/set"))
    local id = t.request({ topic = "fan/set" })
    t.equal("payload", "1", t.published().payload)
    t.equal("acknowledged", id, t.acknowledged())
  end },

  { "a request of two executors is acknowledged when both are done",
    function(t)
      local go = t.event()
      executor(t, { command_name = "one", handler = function()
        go:wait()
        return 1
      end })
      executor(t, { command_name = "two", handler = function()
        return 2
      end })
      local id = t.request({ topic = "fan/set" })
      t.published()
      t.equal("acknowledgements", 0, t.stub.ack_count())
      go:set()
      t.published()
      t.equal("acknowledged", id, t.acknowledged())
      t.equal("acknowledgements", 1, t.stub.ack_count())
    end },

  { "user data keeps its order and its doubles", function(t)
    local seen
    executor(t, { handler = function(_, request)
      seen = request.user_data
      return 1
    end })
    t.request({ topic = "fan/set", user_properties = {
      { name = "b", value = "1" },
      { name = "__protVer", value = "9.0" },
      { name = "a", value = "2" },
      { name = "__protVer", value = "1.0" },
      { name = "b", value = "3" },
    } })
    t.equal("status: the last version counts", "200",
      t.property(t.published(), "__stat"))
    t.equal("pairs", 3, #seen)
    t.equal("first", "b1", seen[1][1] .. seen[1][2])
    t.equal("second", "a2", seen[2][1] .. seen[2][2])
    t.equal("third", "b3", seen[3][1] .. seen[3][2])
    t.equal("by name", "3", seen.b)
  end },

  { "stopping lets the request in hand finish", function(t)
    local go = t.event()
    local stopped = executor(t, { handler = function()
      go:wait()
      return 1
    end })
    local id = t.request({ topic = "fan/set" })
    local stop = t.begin(function()
      return stopped:stop()
    end)
    t.equal("stopped", true, (t.result(stop)))
    t.equal("published so far", 0, t.stub.publish_count())
    go:set()
    t.equal("status", "200", t.property(t.published(), "__stat"))
    t.equal("acknowledged", id, t.acknowledged())
  end },

  { "a handler that is given up can see it", function(t)
    local go, seen = t.event(), nil
    executor(t, { execution_timeout = 2, handler = function(_, request)
      go:wait()
      seen = request:is_cancelled()
      return 1
    end })
    t.request({ topic = "fan/set" })
    t.equal("status", "408", t.property(t.published(), "__stat"))
    go:set()
    t.stub.drain()
    t.equal("given up", true, seen)
    t.equal("responses", 1, t.stub.publish_count())
  end },

  { "a refused executor can be started again",
    { push_acks = { subscribe = { "fail" } } },
    function(t)
      local made = assert(t.session:executor({
        command_name = "set",
        request_topic_pattern = "fan/set",
        handler = function(value)
          return value
        end,
      }))
      local _, err = t.call(function()
        return made:start()
      end)
      t.equal("refused", "mqtt error", err and err.kind)
      t.equal("of the command", "set", err and err.command_name)
      t.must(function()
        return made:start()
      end)
      t.request({ topic = "fan/set" })
      t.equal("payload", "1", t.published().payload)
    end },

  { "calls that come first together share one subscription", function(t)
    local caller = invoker(t)
    local one = t.begin(function()
      return caller:invoke(1)
    end)
    local two = t.begin(function()
      return caller:invoke(2)
    end)
    answer(t, t.published(), { payload = "10" })
    answer(t, t.published(), { payload = "20" })
    t.equal("first", 10, (t.result(one)))
    t.equal("second", 20, (t.result(two)))
    local subscribes = 0
    for _, packet in ipairs(t.stub.trace()) do
      subscribes = subscribes + (packet.name == "SUBSCRIBE" and 1 or 0)
    end
    t.equal("subscriptions", 1, subscribes)
  end },

  { "stopping an invoker ends its calls", function(t)
    local caller = invoker(t)
    local call = t.begin(function()
      return caller:invoke(1)
    end)
    t.published()
    t.must(function()
      return caller:stop()
    end)
    local _, err = t.result(call)
    t.equal("the pending call", "cancellation", err and err.kind)
    local _, late = t.call(function()
      return caller:invoke(2)
    end)
    t.equal("a call after it", "cancellation", late and late.kind)
  end },

  { "a response that cannot be read names the command", function(t)
    local caller = invoker(t)
    local call = t.begin(function()
      return caller:invoke(1)
    end)
    local id = answer(t, t.published(), { payload = "{" })
    local _, err = t.result(call)
    t.equal("kind", "invalid payload", err and err.kind)
    t.equal("command", "set", err and err.command_name)
    t.equal("acknowledged", id, t.acknowledged())
  end },

  { "a value that cannot be sent is refused before anything is sent",
    function(t)
      local caller = invoker(t)
      local _, err = t.call(function()
        return caller:invoke({ print })
      end)
      t.equal("kind", "invalid payload", err and err.kind)
      t.equal("shallow", true, err and err.is_shallow)
      t.equal("command", "set", err and err.command_name)
      t.equal("published", 0, t.stub.publish_count())
    end },

  { "a session can invoke itself", function(t)
    executor(t, { handler = function(value)
      return value * 2
    end })
    local caller = invoker(t)
    local call = t.begin(function()
      return caller:invoke(21)
    end)
    -- The stub is no broker: the test carries both messages over.
    local request = t.published()
    request.packet_id = nil
    request.dup = 0
    t.deliver(request)
    local response = t.published()
    response.packet_id = nil
    response.dup = 0
    t.deliver(response)
    t.equal("value", 42, (t.result(call)))
  end },
}
