--- What `iotops check` says about scripts, from what was seen of them.

local core = require "iotops.core"
local globals = require "iotops.testing.globals"

local check = {}

---@class iotops.testing.Facts of one script
---@field path string
---@field name string
---@field error string? why it cannot be loaded

-- --------------------------------------------------------------- advice --

-- What to do about an error, where the message does not say so itself.
local ADVICE = {
  { "module '([^']+)' not found",
    "put %1.lua beside the script, or install the module for Lua 5.4" },
  { "stopped: ran longer than", "move what computes into iotops.on_start or a timer; the main "
    .. "chunk is for declarations (--load-limit SECONDS allows more)" },
  { "stopped: needs more than", "--memory-limit MIB allows more" },
  { "attempt to call a nil value %(field '([%w_]+)'%)", "is '%1' spelled right?" },
  { "attempt to call a nil value %(global '([%w_]+)'%)",
    "is '%1' spelled right, and declared above this line?" },
  { "attempt to index a nil value %(global '([%w_]+)'%)",
    "is '%1' spelled right, and declared above this line?" },
  { "attempt to load a binary chunk", "scripts are source text; do not compile them" },
}

local function advice(message)
  for _, rule in ipairs(ADVICE) do
    local found, _, name = message:find(rule[1])
    if found then
      if rule[1]:find "^module" then
        name = name:gsub("%.", "/")
      end
      return (rule[2]:gsub("%%1", name or ""))
    end
  end
end

-- A path as the person typed it: below the working directory without that.
local function short(path, folder)
  if path:sub(1, #folder + 1) == folder .. "/" then
    return path:sub(#folder + 2)
  end
  return path
end

-- The message, and its traceback without our own frames.
local function shown_error(text, folder)
  local message = text:match "^(.-)\nstack traceback:" or text
  -- Where a module was looked for is not worth the screen.
  message = message:gsub("(module '[^']+' not found):\n.*$", "%1")
  local plain = folder:gsub("%p", "%%%0")
  return (message:gsub(plain .. "/", ""))
end

-- ------------------------------------------------------------- warnings --

local function warn(script, line, text, ...)
  script.warnings[#script.warnings + 1] = { line = line, message = text:format(...) }
end

-- Adds the globals that the script and its modules would assign once they run,
-- to those that were seen while they were loaded.
local function find_globals(script)
  local known = {}
  script.globals = script.globals or {}
  for _, global in ipairs(script.globals) do
    known[global.name] = true
  end
  local paths = { script.path }
  for _, module in ipairs(script.modules or {}) do
    paths[#paths + 1] = module.is_own and module.path or nil
  end
  for _, path in ipairs(paths) do
    local file = io.open(path, "rb")
    for _, found in ipairs(file and globals.assigned(file:read "a" or "") or {}) do
      if not known[found.name] and _G[found.name] == nil then
        known[found.name] = true
        table.insert(script.globals, {
          name = found.name, line = ("%s:%d"):format(path, found.line),
        })
      end
    end
    if file then
      file:close()
    end
  end
end

local function warn_of_globals(script)
  for _, global in ipairs(script.globals) do
    warn(script, global.line, "assigns the global '%s'; write `local %s`", global.name, global.name)
  end
end

local function warn_of_nothing(script)
  local idle = #(script.endpoints or {}) == 0 and #(script.timers or {}) == 0
    and (script.on_start or 0) == 0
  if idle and not script.error then
    warn(script, nil, "declares nothing: no telemetry, no command, no timer, no on_start; "
      .. "it will never run again once it is loaded")
  end
end

-- Commands that two executors would both execute.
local function warn_of_commands(scripts)
  local first = {}
  for _, script in ipairs(scripts) do
    for _, endpoint in ipairs(script.endpoints or {}) do
      if endpoint.kind == "command" and not endpoint.is_own_session then
        local filter = endpoint.filter:gsub("^%$share/[^/]*/", "")
        local other = first[filter]
        if other then
          warn(script, endpoint.line, "executes %s (%s), which %s executes too%s: both answer "
            .. "each request, and the caller gets either answer",
            endpoint.command_name or "a command", filter,
            other.script == script and "it" or other.script.name,
            other.line and (" (%s)"):format(other.line) or "")
        else
          first[filter] = { script = script, line = endpoint.line }
        end
      end
    end
  end
end

-- ---------------------------------------------------------------- print --

local function sorted(names)
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

local function row(left, text, ...)
  print(("  %-11s %s"):format(left, select("#", ...) > 0 and text:format(...) or text))
end

local function details(endpoint)
  local list = {}
  for _, name in ipairs(sorted(endpoint.tokens or {})) do
    list[#list + 1] = ("%s=%s"):format(name, endpoint.tokens[name])
  end
  if endpoint.service_group_id then
    list[#list + 1] = "shared in group " .. endpoint.service_group_id
  end
  if endpoint.is_own_session then
    list[#list + 1] = "by a session of its own"
  end
  if endpoint.concurrency then
    list[#list + 1] = ("%d at a time"):format(endpoint.concurrency)
  end
  if endpoint.cacheable_duration then
    list[#list + 1] = ("cached for %g s"):format(endpoint.cacheable_duration)
  end
  return #list > 0 and (" (%s)"):format(table.concat(list, ", ")) or ""
end

local function count(number, noun)
  return ("%d %s%s"):format(number, noun, number == 1 and "" or "s")
end

local function print_timers(timers)
  for _, timer in ipairs(timers) do
    row("timer", "%s%s%s", timer.repeats and "every " or "after ",
      timer.seconds and ("%g s"):format(timer.seconds) or "some time",
      timer.name and (" (%s)"):format(timer.name) or "")
  end
end

local function print_needs(script)
  for _, module in ipairs(script.modules) do
    row("module", "%s%s", module.name, module.is_own and (" (%s)"):format(module.path)
      or module.path and "" or " (made by the script)")
  end
  for _, name in ipairs(sorted(script.env)) do
    row("environment", "%s%s", name, script.env[name].is_set and "" or " (not set)")
  end
  if script.uses_state_store then
    row("service", "the state store")
  end
  for _, lock in ipairs(script.locks) do
    row("lock", lock.name)
  end
  for _, election in ipairs(script.elections) do
    row("election", election.name)
  end
  for _, session in ipairs(script.sessions) do
    row("session", "of its own%s", session.hostname and ", with " .. session.hostname or "")
  end
end

local function print_script(script)
  if script.error then
    print(("%s: refused"):format(script.path))
    print("  " .. script.error:gsub("\n", "\n  "))
    if script.advice then
      row("what to do", script.advice)
    end
  else
    print(("%s: ok"):format(script.path))
    for _, endpoint in ipairs(script.endpoints) do
      row(endpoint.kind == "command" and "executes" or "receives", "%s%s", endpoint.filter,
        details(endpoint))
    end
    print_timers(script.timers)
    if script.on_start > 0 then
      row("on_start", count(script.on_start, "function"))
    end
    if script.on_stop > 0 then
      row("on_stop", count(script.on_stop, "function"))
    end
    if script.handoff then
      row("hand-off", "version %d%s%s", script.handoff.version,
        script.handoff.saves and ", saves" or "", script.handoff.restores and ", restores" or "")
    end
    for _, counter in ipairs(script.counters) do
      row(counter.kind, counter.name)
    end
    print_needs(script)
    row("loading", "%.1f ms, %.0f KiB", script.load_ms, script.memory / 1024)
  end
  for _, warning in ipairs(script.warnings) do
    row("warning", "%s%s", warning.line and warning.line .. ": " or "", warning.message)
  end
end

local LISTS = {
  "endpoints", "timers", "counters", "modules", "sessions", "locks", "elections", "globals",
  "warnings",
}

local function print_json(scripts)
  for _, script in ipairs(scripts) do
    for _, name in ipairs(LISTS) do
      if script[name] then
        core.json_array(script[name])
      end
    end
  end
  print(assert(core.json_encode { scripts = core.json_array(scripts) }))
end

-- ------------------------------------------------------------------ run --

--- Reports what was seen; the exit status.
---@param scripts iotops.testing.Facts[]
---@param options {json: boolean, folder: string} folder: the working directory
---@return integer
function check.report(scripts, options)
  local refused = 0
  local function shorten(entry)
    for _, name in ipairs { "line", "path" } do
      entry[name] = entry[name] and short(entry[name], options.folder)
    end
  end
  for _, script in ipairs(scripts) do
    script.warnings = {}
    find_globals(script)
    shorten(script)
    for _, name in ipairs(LISTS) do
      for _, entry in ipairs(script[name] or {}) do
        shorten(entry)
      end
    end
    for _, entry in pairs(script.env or {}) do
      shorten(entry)
    end
    if script.error then
      refused = refused + 1
      script.advice = advice(script.error)
      script.error = shown_error(script.error, options.folder)
    end
    warn_of_globals(script)
    warn_of_nothing(script)
  end
  warn_of_commands(scripts)
  if options.json then
    print_json(scripts)
    return refused == 0 and 0 or 1
  end
  local warnings = 0
  for _, script in ipairs(scripts) do
    print_script(script)
    warnings = warnings + #script.warnings
  end
  print(("%s checked, %d refused, %s"):format(count(#scripts, "script"), refused,
    count(warnings, "warning")))
  return refused == 0 and 0 or 1
end

return check
