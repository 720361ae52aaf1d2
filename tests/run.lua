--- Runs the tests: C programs in build/tests/unit, specs in tests/spec and,
--- when SHARED names the folder, its conformance cases.  Prints one line a
--- program and closes with "N passed, N failed[, N skipped]".
---
--- Arguments select: only programs whose name contains one of them.

package.path = "tests/?.lua;" .. package.path
local uv = require "luv"
local process = require "process"

local build = os.getenv("BUILD") or "build"
local shared = os.getenv("SHARED") or ""

local function files(folder, pattern)
  local found = {}
  local scan = uv.fs_scandir(folder)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    if name:find(pattern) then found[#found + 1] = folder .. "/" .. name end
  end
  table.sort(found)
  return found
end

-- ---------------------------------------------------------- what is run --

---@class Program
---@field name string
---@field command string[]
---@field seconds number past which it counts as hung
---@field read fun(result: Result, process: process.Process)

---@class Result
---@field passed integer
---@field failed integer
---@field skipped integer
---@field notes string[] shown below the line: failures, reasons of skips

-- Both cmocka and busted can write TAP; they differ in how they mark a skip.
local function read_tap(result, program)
  local planned, seen, showing = nil, 0, false
  for _, line in ipairs(program.out) do
    local verdict, name = line:match("^(n?o?t? ?ok) %d+ %-? ?(.*)")
    if verdict then
      seen, showing = seen + 1, false
      if name:find("# SKIP", 1, true) then
        result.skipped = result.skipped + 1
        result.notes[#result.notes + 1] = "skipped: " .. name:gsub("# SKIP ", "")
      elseif verdict == "ok" then
        result.passed = result.passed + 1
      else
        result.failed, showing = result.failed + 1, true
        result.notes[#result.notes + 1] = "FAILED: " .. name
      end
    else
      planned = tonumber(line:match("^1%.%.(%d+)")) or planned
      if showing then result.notes[#result.notes + 1] = "  " .. line end
    end
  end
  local broken = planned == nil and "ended before its end"
    or planned ~= seen and ("planned %d tests, ran %d"):format(planned, seen)
    or program.code ~= 0 and result.failed == 0
      and ("ended with %d (signal %d)"):format(program.code, program.signal)
  if broken or result.failed > 0 then
    for _, line in ipairs(program.err) do
      result.notes[#result.notes + 1] = "  " .. line
    end
  end
  if broken then
    result.failed = result.failed + 1
    result.notes[#result.notes + 1] = "FAILED: the program " .. broken
  end
end

-- The conformance runner closes with the same words as we do.
local function read_summary(result, program)
  local last = program.out[#program.out] or ""
  local passed, failed = last:match("^(%d+) passed, (%d+) failed")
  result.passed = tonumber(passed) or 0
  result.failed = tonumber(failed) or 1
  if program.code ~= 0 and result.failed == 0 then result.failed = 1 end
  if result.failed > 0 then
    for _, lines in ipairs { program.out, program.err } do
      for _, line in ipairs(lines) do
        result.notes[#result.notes + 1] = "  " .. line
      end
    end
  end
end

if (os.getenv("SANITIZE") or "") ~= "" then
  local found = process.run { "gcc", "-print-file-name=libasan.so" }
  uv.os_setenv("IOTOPS_TEST_PRELOAD", found.out[1])
end

local function programs()
  local list = {}
  for _, source in ipairs(files("tests/unit", "^test_.*%.c$")) do
    local name = source:match("test_(.*)%.c$")
    list[#list + 1] = {
      name = "unit " .. name,
      command = { build .. "/tests/unit/test_" .. name },
      seconds = 60,
      read = read_tap,
    }
  end
  for _, path in ipairs(files("tests/spec", "_spec%.lua$")) do
    list[#list + 1] = {
      name = "spec " .. path:match("([^/]*)_spec%.lua$"),
      command = { "lua5.4", "tests/busted_54.lua", path },
      seconds = 180,
      read = read_tap,
    }
  end
  for _, what in ipairs { "rows", "more" } do
    list[#list + 1] = {
      name = "faults " .. what,
      command = { "lua5.4", "tests/faults/run.lua", what },
      seconds = 180,
      read = read_summary,
    }
  end
  for _, model in ipairs {
    { "acks", "100000" }, { "simulate", "400" }, { "starve" }, { "starve_scripts", "8" },
    { "machine", "4000" },
  } do
    list[#list + 1] = {
      name = "model " .. model[1],
      command = {
        build .. "/tests/model/" .. model[1], table.unpack(model, 2),
      },
      seconds = 120,
      read = read_summary,
    }
  end
  list[#list + 1] = {
    name = "model mistakes",
    command = { "lua5.4", "tests/model/mistakes.lua" },
    seconds = 60,
    read = read_summary,
  }
  if (os.getenv("SANITIZE") or "") == "" then -- both want to be malloc
    list[#list + 1] = {
      name = "libraries short of memory",
      command = { build .. "/tests/faults/library_memory", "150" },
      seconds = 60,
      read = read_summary,
    }
  end
  for _, what in ipairs { "replay", "planted" } do
    list[#list + 1] = {
      name = "fuzz " .. what,
      command = { "lua5.4", "tests/fuzz/run.lua", what },
      seconds = 60,
      read = read_summary,
    }
  end
  list[#list + 1] = {
    name = "protocol in Lua",
    command = { build .. "/metl", "tests/metl/own.lua" },
    seconds = 120,
    read = read_summary,
  }
  list[#list + 1] = {
    name = "protocol short of memory",
    command = { build .. "/metl", "tests/metl/allocations.lua", "5" },
    seconds = 240,
    read = read_summary,
  }
  for _, storm in ipairs {
    { "protocol in storms", "80" },
    { "protocol in storms and short of memory", "40", "1", "120", "43" },
  } do
    list[#list + 1] = {
      name = storm[1],
      command = { build .. "/metl", "tests/metl/storm.lua", table.unpack(storm, 2) },
      seconds = 120,
      read = read_summary,
    }
  end
  list[#list + 1] = {
    name = "metl self-test",
    command = {
      build .. "/metl", "tests/metl/selftest.lua", build .. "/metl-faulty",
    },
    seconds = 240,
    read = read_summary,
  }
  if shared ~= "" then
    for _, level in ipairs { "1", "2" } do
      list[#list + 1] = {
        name = "metl level " .. level,
        command = {
          build .. "/metl", "tests/metl/run.lua", shared .. "/metl",
          "--level", level,
        },
        seconds = 240,
        read = read_summary,
      }
    end
  end
  return list
end

local function selected(name)
  if #arg == 0 then return true end
  for _, part in ipairs(arg) do
    if name:find(part, 1, true) then return true end
  end
  return false
end

-- ---------------------------------------------------------------- running --

local function run(program)
  local result = { passed = 0, failed = 0, skipped = 0, notes = {} }
  local started = uv.hrtime()
  -- What a test leaves behind, also one that was killed, goes with this folder.
  local temporary = process.folder()
  local ok, err = pcall(function()
    local running = process.start(program.command, {
      env = { CMOCKA_MESSAGE_OUTPUT = "TAP", TMPDIR = temporary },
    })
    running:wait(program.seconds)
    program.read(result, running)
  end)
  process.kill_all()
  os.execute("rm -rf '" .. temporary .. "'")
  if not ok then
    result.failed = result.failed + 1
    result.notes[#result.notes + 1] = "FAILED: " .. tostring(err)
  end
  result.seconds = (uv.hrtime() - started) / 1e9
  return result
end

local total = { passed = 0, failed = 0, skipped = 0 }
for _, program in ipairs(programs()) do
  if selected(program.name) then
    local result = run(program)
    print(("%-6s %-32s %4d passed%s%s  %.1f s"):format(
      result.failed > 0 and "FAILED" or "ok", program.name, result.passed,
      result.failed > 0 and (", %d failed"):format(result.failed) or "",
      result.skipped > 0 and (", %d skipped"):format(result.skipped) or "",
      result.seconds))
    for _, note in ipairs(result.notes) do print("       " .. note) end
    io.stdout:flush()
    for key in pairs(total) do total[key] = total[key] + result[key] end
  end
end
if shared == "" then
  print("The conformance cases were not run: name their folder with SHARED=FOLDER.")
end

print(("%d passed, %d failed%s"):format(total.passed, total.failed,
  total.skipped > 0 and (", %d skipped"):format(total.skipped) or ""))
os.exit(total.failed == 0 and total.passed > 0 and 0 or 1)
