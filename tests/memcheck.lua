--- Runs the C unit tests and a minute of the host under valgrind.  Any error
--- and any block that was lost counts.

package.path = "tests/?.lua;" .. package.path
local uv = require "luv"
local process = require "process"

local build = os.getenv("BUILD") or "build"
local VALGRIND = "valgrind --quiet --error-exitcode=99 --leak-check=full "
  .. "--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect "
  .. "--child-silent-after-fork=yes"
local PAUSE = "0.14" -- of the demo's sensors: makes it last a minute

local failed = 0

local function report(name, run, ok)
  print(("%-6s %s"):format(ok and "ok" or "FAILED", name))
  if not ok then
    failed = failed + 1
    print(run:text())
  end
end

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do list[#list + 1] = word end
  return list
end

local scan = assert(uv.fs_scandir("tests/unit"))
local names = {}
for name in function() return uv.fs_scandir_next(scan) end do
  names[#names + 1] = name:match("^(test_.*)%.c$")
end
table.sort(names)
for _, name in ipairs(names) do
  local run = process.run(words(VALGRIND .. " " .. build .. "/tests/unit/" .. name),
    { seconds = 300 })
  report("unit " .. name, run, run.code == 0)
end

-- The demo starts the host through this.
local folder = process.folder()
local wrapper, log = folder .. "/iotops", folder .. "/valgrind.log"
local file = assert(io.open(wrapper, "w"))
file:write(("#!/bin/sh\nexec %s --log-file=%s %s/iotops \"$@\"\n"):format(VALGRIND, log, build))
file:close()
assert(uv.fs_chmod(wrapper, 493)) -- 0755
local run = process.run({ "lua5.4", "scripts/samples/demo/run.lua", wrapper, PAUSE },
  { seconds = 240 })
for line in io.lines(log) do run.out[#run.out + 1] = line end
report("a minute of the host", run, run.code == 0 and uv.fs_stat(log).size == 0)

os.exit(failed == 0 and 0 or 1)
