--- What `iotops test` does: finds the specs of scripts and has busted run them.

local runner = {}

local TEMPLATE = [[
local testing = require "iotops.testing"

describe("%s", function()
  it("is loaded, and receives what it should", function()
    local world <close> = testing.world()
    local script = world:run "%s.lua"
    assert.same({%s}, world:subscriptions())
    assert.same({}, script:errors())
  end)
end)
]]

-- Options of busted that take the next word as their value.
local WITH_VALUE = {}
for _, name in ipairs {
  "-o", "--output", "-t", "--tags", "--exclude-tags", "--filter", "--filter-out", "-e", "-m",
  "--lpath", "--cpath", "-p", "--pattern", "--exclude-pattern", "-r", "--run", "--repeat",
  "--seed", "--lang", "--loaders", "--helper", "-C", "--directory", "-f", "--config-file",
  "--coverage-config-file", "-Xoutput", "-Xhelper",
} do
  WITH_VALUE[name] = true
end

local function complain(...)
  io.stderr:write("iotops test: ", string.format(...), "\n")
  return 2
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

-- ---------------------------------------------------------------- specs --

-- Folder with its slash, and name without .lua.
local function parts(path)
  local folder, base = path:match "^(.*/)([^/]*)$"
  return folder or "", ((base or path):gsub("%.lua$", ""))
end

local function template(name, filters)
  for index, filter in ipairs(filters) do
    filters[index] = ("%q"):format(filter)
  end
  local list = #filters > 0 and " " .. table.concat(filters, ", ") .. " " or ""
  return TEMPLATE:format(name, name, list)
end

-- What a script subscribes to in a world; nil and why it cannot be loaded.
local function filters_of(path)
  local world <close> = require("iotops.testing").world()
  local ok, why = pcall(world.run, world, path)
  if not ok then
    return nil, why
  end
  return world:subscriptions()
end

--- The specs of one argument; nil and why there are none.
local function specs_of(path)
  local attributes = require("lfs").attributes(path)
  if not attributes then
    return nil, ("%s: no such file or folder"):format(path)
  elseif attributes.mode == "directory" then
    return path
  end
  local folder, name = parts(path)
  if name:find "_spec$" then
    return path
  end
  for _, candidate in ipairs {
    ("%s%s_spec.lua"):format(folder, name), ("%sspec/%s_spec.lua"):format(folder, name),
  } do
    if exists(candidate) then
      return candidate
    end
  end
  return nil, ([[
%s has no spec: neither %s%s_spec.lua nor %sspec/%s_spec.lua is there.
`iotops test --new %s` writes one to start from:

%s]]):format(path, folder, name, folder, name, path, template(name, filters_of(path) or {}))
end

--- `iotops test --new FILE`
local function write_new(path)
  local folder, name = parts(path)
  local spec = ("%s%s_spec.lua"):format(folder, name)
  if not exists(path) then
    return complain("%s: no such file", path)
  elseif name:find "_spec$" then
    return complain("%s is a spec itself; --new takes the script", path)
  elseif exists(spec) then
    return complain("%s is there already; it was left as it is", spec)
  end
  local filters, why = filters_of(path)
  if not filters then
    return complain("%s", why)
  end
  local file, failed = io.open(spec, "wb")
  if not file then
    return complain("%s", failed)
  end
  file:write(template(name, filters))
  file:close()
  print(("%s is written; `iotops test %s` runs it"):format(spec, path))
  return 0
end

-- --------------------------------------------------------------- busted --

local function count(busted, counts)
  busted.subscribe({ "suite", "start" }, function()
    counts.started = true
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(_, _, status)
    if status == "success" then
      counts.passed = counts.passed + 1
    elseif status == "pending" then
      counts.skipped = counts.skipped + 1
    else
      counts.failed = counts.failed + 1
    end
    return nil, true
  end)
  -- Files that cannot be loaded, and what surrounds tests.
  for _, kind in ipairs { "error", "failure" } do
    busted.subscribe({ kind }, function(element)
      if element.descriptor ~= "it" then
        counts.failed = counts.failed + 1
      end
      return nil, true
    end)
  end
end

-- busted ends with os.exit, which a test of ours must outlive.
local ended = {}

local function run_busted(words)
  local counts = { passed = 0, failed = 0, skipped = 0 }
  local exit, core = os.exit, require "busted.core"
  package.loaded["busted.core"] = function(...)
    local busted = core(...)
    count(busted, counts)
    return busted
  end
  -- luacheck: ignore 122
  ---@diagnostic disable-next-line: duplicate-set-field
  os.exit = function(code)
    ended.code = code == true and 0 or tonumber(code) or 1
    error(ended, 0)
  end
  _G.arg = words
  -- busted names itself after the chunk that calls it.
  local call = assert(load("local run = ... ; run { standalone = false } ; return true",
    "@iotops test"))
  local ok, why = xpcall(call, function(err)
    return err == ended and err or debug.traceback(tostring(err), 2)
  end, require "busted.runner")
  os.exit = exit
  if not ok and why ~= ended then
    io.stderr:write(why, "\n")
    return 2
  elseif not counts.started then
    return (ended.code or 0) == 0 and 0 or 2
  end
  print(("%d passed, %d failed%s"):format(counts.passed, counts.failed,
    counts.skipped > 0 and (", %d skipped"):format(counts.skipped) or ""))
  return counts.failed == 0 and (ended.code or 0) == 0 and 0 or 1
end

--- Does what the command line says; the exit status.
---@param words string[]
---@return integer
function runner.run(words)
  if words[1] == "--new" then
    if #words ~= 2 then
      return complain "--new takes the name of one script"
    end
    return write_new(words[2])
  end
  local found, why = pcall(require, "busted.runner")
  if not found then
    return complain("it needs busted (Debian's package lua-busted, or `luarocks install busted`, "
      .. "for Lua 5.4)\n%s", why)
  end
  local passed_on, targets, seen = {}, 0, {}
  for index, word in ipairs(words) do
    if word:sub(1, 1) == "-" or WITH_VALUE[words[index - 1]] then
      passed_on[#passed_on + 1] = word
    else
      local spec
      spec, why = specs_of(word)
      if not spec then
        return complain("%s", why)
      end
      targets = targets + 1
      if not seen[spec] then
        passed_on[#passed_on + 1], seen[spec] = spec, true
      end
    end
  end
  if targets == 0 then
    return complain "it needs a script, a spec or a folder of specs"
  end
  return run_busted(passed_on)
end

return runner
