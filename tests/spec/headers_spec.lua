local process = require "process"
local uv = require "luv"

local function headers()
  local list, scan = {}, assert(uv.fs_scandir("host/include/iotops"))
  for name in function() return uv.fs_scandir_next(scan) end do
    if name:find("%.h$") then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

describe("the public headers", function()
  for _, name in ipairs(headers()) do
    local function compiles(compiler, language, standard)
      local folder = process.folder()
      local source = folder .. "/alone"
      local file = assert(io.open(source, "w"))
      file:write(('#include <iotops/%s>\nint main(void) { return 0; }\n'):format(name))
      file:close()
      local run = process.run { compiler, "-x", language, "-std=" .. standard,
        "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
        "-Ihost/include", source }
      assert.equal(0, run.code, run:text())
    end

    it(name .. " compiles alone as C11", function()
      compiles(os.getenv("CC") or "gcc", "c", "c11")
    end)

    it(name .. " compiles alone as C++", function()
      compiles("g++", "c++", "c++17")
    end)
  end
end)
