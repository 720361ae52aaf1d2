--- Fuzz targets: run.lua replay | planted | fuzz SECONDS
---
--- replay runs what is kept in corpus/<target>, an input a test; planted shows
--- that the packet filter's target finds an error put there on purpose; fuzz
--- lets libFuzzer look for new inputs, and for that error from nothing.
--- Closes with "N passed, N failed".

package.path = "tests/?.lua;" .. package.path
local uv = require "luv"
local process = require "process"

local what, seconds = ...
seconds = math.tointeger(tonumber(seconds or "60"))
local build = os.getenv("BUILD") or "build"
local folder = "tests/fuzz"
local passed, failed = 0, 0

local function verdict(ok, text, lines)
  if ok then passed = passed + 1 else failed = failed + 1 end
  print((ok and "ok      " or "FAILED  ") .. text)
  if not ok then
    for i = math.max(1, #lines - 30), #lines do print("  " .. lines[i]) end
  end
  io.stdout:flush()
end

local function names(path, pattern)
  local found = {}
  local scan = uv.fs_scandir(path)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    found[#found + 1] = name:match(pattern)
  end
  table.sort(found)
  return found
end

local targets = names(folder, "^fuzz_(.*)%.c$")

local function inputs(target)
  local corpus = folder .. "/corpus/" .. target
  local paths = {}
  for i, name in ipairs(names(corpus, ".+")) do
    paths[i] = corpus .. "/" .. name
  end
  return paths
end

local function replay(target, program)
  local paths = inputs(target)
  local result = process.run { program, table.unpack(paths) }
  local count = 0
  for _, line in ipairs(result.out) do
    if line:find("^ok ") then count = count + 1 end
  end
  return count, #paths, result
end

if what == "replay" then
  for _, target in ipairs(targets) do
    local count, wanted, result =
      replay(target, build .. "/tests/fuzz/replay_" .. target)
    passed = passed + count
    if count < wanted or wanted == 0 or result.code ~= 0 then
      failed = failed + 1
      print(("FAILED  %s: %s"):format(target,
        inputs(target)[count + 1] or "no input is kept"))
      for _, line in ipairs(result.err) do print("  " .. line) end
    end
  end
elseif what == "planted" then
  local count, wanted, result =
    replay("packet_filter", build .. "/tests/fuzz/replay_planted")
  verdict(count < wanted and result.signal == 6,
    "an off-by-one in framing is found by the inputs that are kept", result.out)
  local cuts = process.run { build .. "/tests/fuzz/cuts_planted" }
  verdict(cuts.code ~= 0 or cuts.signal ~= 0,
    "an off-by-one in framing is found by the cuts at every byte", cuts.out)
elseif what == "fuzz" then
  local scratch = build .. "/fuzz/findings"
  process.run { "mkdir", "-p", scratch }
  for _, target in ipairs(targets) do
    local corpus = build .. "/fuzz/corpus/" .. target
    process.run { "mkdir", "-p", corpus }
    local result = process.run({
      build .. "/fuzz/" .. target, "-max_total_time=" .. seconds,
      "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
      "-artifact_prefix=" .. scratch .. "/" .. target .. "-",
      corpus, folder .. "/corpus/" .. target,
    }, { seconds = seconds + 60 })
    local runs = table.concat(result.err, "\n"):match("executed_units:%s*(%d+)")
    verdict(result.code == 0,
      ("%s: %s inputs"):format(target, runs or "?"), result.err)
  end
  local empty = build .. "/fuzz/corpus/planted"
  process.run { "rm", "-rf", empty }
  process.run { "mkdir", "-p", empty }
  local result = process.run({
    build .. "/fuzz/planted", "-max_total_time=" .. seconds,
    "-artifact_prefix=" .. scratch .. "/planted-", empty,
  }, { seconds = seconds + 60 })
  verdict(result.code ~= 0,
    "an off-by-one in framing is found from nothing", result.err)
else
  error("run.lua: replay, planted or fuzz SECONDS")
end

print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0 and 0 or 1)
