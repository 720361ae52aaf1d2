local process = require "process"
local sanitized = require "sanitized"

local BUILD = os.getenv("BUILD") or "build"
local SANITIZE = "SANITIZE=" .. (os.getenv("SANITIZE") or "")

local PROGRAM = [[
#include <iotops/session.h>
#include <stdio.h>

int main(void) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_context *context = NULL;
  iotops_error err;
  if (iotops_context_new(&options, &context, &err) != 0)
    return 1;
  puts(iotops_version());
  iotops_context_free(context);
  return 0;
}
]]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function run(command, options)
  local ended = process.run(command, options)
  assert.equal(0, ended.code, ended:text())
  return ended
end

local function make(root, prefix, target)
  run { "make", "BUILD=" .. BUILD, SANITIZE, "DESTDIR=" .. root, "PREFIX=" .. prefix, target }
end

local function tree(folder)
  local found = run { "find", folder, "-type", "f", "-o", "-type", "l" }
  table.sort(found.out)
  return found.out
end

describe("make install", function()
  local root, prefix

  setup(function()
    root = process.folder()
    prefix = root .. "/opt/iotops"
    make(root, "/opt/iotops", "install")
  end)

  teardown(function() os.execute("rm -rf " .. root) end)

  it("stages the program, which runs", function()
    local version = run { prefix .. "/bin/iotops", "version" }
    assert.match("^iotops %d+%.%d+%.%d+$", version.out[1])
  end)

  it("stages a library that a C program finds with pkg-config", function()
    -- PKG_CONFIG_SYSROOT_DIR puts the stage before the paths of the file.
    local env = { PKG_CONFIG_PATH = prefix .. "/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR = root }
    write(root .. "/use.c", PROGRAM)
    local flags = run({ "pkg-config", "--cflags", "--libs", "iotops" }, { env = env }).out[1]
    run { "sh", "-c", ("gcc %s %s/use.c -o %s/use %s"):format(
      sanitized.flags, root, root, flags) }
    local used = run({ root .. "/use" }, { env = { LD_LIBRARY_PATH = prefix .. "/lib" } })
    assert.match("^%d+%.%d+%.%d+$", used.out[1])
    local needed = run { "readelf", "-d", root .. "/use" }
    assert.match("libiotops%.so%.0", needed:text())
  end)

  it("stages a Lua module and its annotations", function()
    local program = "print(type(require('iotops').send))"
    local used = run({ "lua5.4", "-e", program }, { env = {
      LUA_PATH = prefix .. "/share/lua/5.4/?.lua;" .. prefix .. "/share/lua/5.4/?/init.lua;;",
      LUA_CPATH = prefix .. "/lib/lua/5.4/?.so;;",
    } })
    assert.equal("function", used.out[1])
    assert.match("/opt/iotops/share/lua/5%.4/iotops", read(prefix .. "/share/iotops/luarc.json"))
  end)

  it("exports the public functions and nothing else", function()
    local symbols = run { "nm", "-D", "--defined-only", prefix .. "/lib/libiotops.so.0" }
    local count = 0
    for _, line in ipairs(symbols.out) do
      local name = line:match(" [TDBR] (%S+)$")
      if name and not name:find("^__") then -- those are the compiler's
        assert.match("^iotops_", name)
        count = count + 1
      end
    end
    assert.is_true(count > 50)
  end)

  it("is undone by make uninstall", function()
    local copy = process.folder()
    make(copy, "/usr", "install")
    assert.is_true(#tree(copy) > 10)
    make(copy, "/usr", "uninstall")
    assert.same({}, tree(copy))
    os.execute("rm -rf " .. copy)
  end)
end)
