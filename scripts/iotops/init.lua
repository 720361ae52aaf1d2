--- iotops: telemetry and commands over MQTT v5 for Azure IoT Operations.
---
--- Calls that wait (`send`, `invoke`, `sleep`, ...) yield the running coroutine
--- and read as if they blocked.  Short forms raise the error object; methods of
--- envoys return `nil, err`.
---
--- The module fills itself: a script holds only what it uses of it, and what it
--- never names costs it nothing.  To add to it:
---
---  * a function written in Lua goes into a file of its kind (a part), which
---    begins with `local iotops = require "iotops"` and defines
---    `function iotops.NAME`; the part's line below gets the name;
---  * a function of the C half goes into the list of `core_field` of its file,
---    into the line `core` below, and with its annotation into types.lua;
---  * a method of sessions is a field of `core.session_methods` that the part
---    sets; it is found by the same line.
---
--- A new file has a line in the rockspec too.

local core = require "iotops.core"

local VERSION = "0.1.0"

-- A part, and the names that it defines.
local PARTS = [[
core: version null any log resp3 clock
core: counter gauge sleep after every now hlc traceparent spawn
core: on_start on_stop handoff event run stop error is_error
serializers: json raw empty
setup: configure session
declarations: on_telemetry on_command
calls: send invoke
services: state_store lock leader_election
]]

if core.version ~= VERSION then
  error(("iotops %s cannot use the core of iotops %s"):format(VERSION, core.version))
end

core.watch_luv()

---@class iotops
local iotops = {}

-- Has the part that defines `wanted` define it.
local function fill(wanted)
  for part, names in PARTS:gmatch "(%g+): ([^\n]+)" do
    for name in names:gmatch "%g+" do
      if name == wanted then
        if part == "core" then
          iotops[name] = core[name]
        else
          require("iotops." .. part)
        end
        return true
      end
    end
  end
  return false
end

local function index(table, name)
  return type(name) == "string" and fill(name) and rawget(table, name) or nil
end

-- Whoever looks through the module finds all of it.
local function each()
  for name in PARTS:gsub("%g+:", ""):gmatch "%g+" do
    local _ = iotops[name]
  end
  return next, iotops
end

setmetatable(core.session_methods, { __index = index })

return setmetatable(iotops, { __index = index, __pairs = each, __metatable = "protected" })
