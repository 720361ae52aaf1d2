--- The host program in a test: scripts on a broker, its log as JSON lines.

local cjson = require "cjson"
local process = require "process"

local host = {}

host.program = (os.getenv("BUILD") or "build") .. "/iotops"

--- Writes a script; as an editor does it, in one step.
function host.write(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".new", path))
  return path
end

--- Starts `iotops run` and waits until its scripts serve.
---@param broker broker.Broker
---@param client_id string
---@param ... string options, scripts and folders
---@return process.Process
function host.run(broker, client_id, ...)
  local running = process.start({ host.program, "run", "--log-format", "json", ... },
    { env = broker:environment(client_id) })
  running:line("subscribed: ", 15)
  return running
end

--- Stops it as an operator does, and expects status 0.
function host.stop(running, seconds)
  running:signal_with("sigterm")
  local code = running:wait(seconds or 25)
  if code ~= 0 then error(("the host ended with %d:\n%s"):format(code, running:text()), 2) end
end

--- The counters of its only script, from the record it logs on SIGUSR1 and at
--- its end.
---@return table<string, integer>
function host.counters(running)
  for index = #running.err, 1, -1 do
    local ok, record = pcall(cjson.decode, running.err[index])
    if ok and record.message == "counters" then
      local counters = {}
      for name, value in pairs(record) do
        counters[name] = math.tointeger(tonumber(value))
      end
      return counters
    end
  end
  error("the host has logged no counters:\n" .. running:text(), 2)
end

--- Runs one of the tools (send, invoke, watch) to its end.
---@return process.Process
function host.tool(broker, ...)
  return process.run({ host.program, ... }, { env = broker:environment("tool") })
end

return host
