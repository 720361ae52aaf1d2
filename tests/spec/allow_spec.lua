local process = require "process"
local hosting = require "hosting"

-- What a script tries, and the name that would allow it.
local TRIES = {
  { "io.open('FOLDER/x.lua'):close()", "io" },
  { "for _ in io.lines('FOLDER/x.lua') do end", "io" },
  { "os.rename('FOLDER/none', 'FOLDER/some')", "io" },
  { "os.remove('FOLDER/none')", "io" },
  { "loadfile('FOLDER/x.lua')", "io" },
  { "dofile('FOLDER/x.lua')", "io" },
  { "io.popen('true'):close()", "io.popen" },
  { "os.execute('true')", "os.execute" },
  { "os.getenv('HOME')", "os.getenv" },
  { "os.setlocale('C')", "os.setlocale" },
  { "package.loadlib('none', '*')", "package.loadlib" },
  { "debug.getregistry()", "debug" },
  { "debug.getupvalue(string.rep, 1)", "debug" },
  { "debug.getmetatable(io.stdout).__gc()", "debug" },
  { "debug.upvaluejoin(f, 1, f, 1)", "debug" },
  { "require 'cjson'", "cjson" },
  { "require 'cjson.safe'", "cjson" },
  { "require 'lpeg'", "lpeg" },
  { "require 're'", "re,lpeg" },
  { "require 'luv'", "luv" },
  { "require('luv').sleep(0)", "luv.sleep" },
  { "require('luv').kill(require('luv').getpid(), 0)", "luv.kill" },
}

-- These need nothing.
local ALWAYS = {
  "assert(require('own') == 'own')", "assert(os.time() and os.date() and os.clock())",
  "assert(debug.traceback():find('traceback'))", "assert(debug.getinfo(1, 'l').currentline)",
  "assert(require('iotops').send)", "assert(utf8.char(228) and string.rep('x', 2))",
  "assert(load('return 1')() == 1)", "io.stderr:write('')", "assert(io.type(io.stdout))",
  "assert(not os.none and not debug.none)",
}

-- Never, whatever is allowed.
local NEVER = {
  { "os.exit()", "os.exit is not available" },
  { "debug.sethook()", "is not a" }, -- the host's, or withheld
  { "load(string.dump(function() end))()", "attempt to call a nil value" },
  { "getmetatable(io.stdout).__gc = print", "attempt to index a string value" },
  { "require 'iotops.none'", "is not part of iotops" },
}

describe("what a script may load", function()
  local folder

  before_each(function()
    folder = process.folder()
    hosting.write(folder .. "/own.lua", "return 'own'")
    hosting.write(folder .. "/x.lua", "return 1")
  end)
  after_each(function() os.execute("rm -rf '" .. folder .. "'") end)

  -- What `iotops check` says of a script that tries `texts`, one a line.
  local function try(texts, ...)
    local lines = { "local function f() return folder end" }
    for index, text in ipairs(texts) do
      lines[#lines + 1] = ("print(%d, pcall(function() %s end))"):format(index,
        (text:gsub("FOLDER", folder)))
    end
    local path = folder .. "/script.lua"
    hosting.write(path, table.concat(lines, "\n"))
    local result = process.run { hosting.program, "check", path, ... }
    local said = {}
    for _, line in ipairs(result.err) do
      local index, outcome = line:match("^(%d+)\t(.*)")
      if index then said[tonumber(index)] = outcome end
    end
    assert.equal(#texts, #said, result:text())
    return said
  end

  local function texts_of(tries)
    local texts = {}
    for index, each in ipairs(tries) do texts[index] = each[1] end
    return texts
  end

  it("is nothing beyond itself and iotops where nothing is allowed", function()
    for index, said in ipairs(try(texts_of(TRIES), "--allow", "none")) do
      local text, name = TRIES[index][1], TRIES[index][2]
      local wanted = name:gsub("^luv%..*", "luv"):gsub(",.*", "")
      assert.truthy(said:find("^false"), text .. ": " .. said)
      assert.truthy(said:find("is not allowed to scripts here", 1, true), text .. ": " .. said)
      assert.truthy(said:find("--allow default," .. wanted, 1, true)
        or said:find("--allow default,%l+%.%l+"), text .. ": " .. said)
    end
  end)

  it("is what the default names", function()
    local granted = { io = true, ["os.getenv"] = true, cjson = true, luv = true }
    for index, said in ipairs(try(texts_of(TRIES))) do
      local text, name = TRIES[index][1], TRIES[index][2]
      if granted[name] then
        assert.falsy(said:find("is not allowed", 1, true), text .. ": " .. said)
      else
        assert.truthy(said:find("--allow default," .. name:gsub(",.*", ""), 1, true),
          text .. ": " .. said)
      end
    end
  end)

  it("is what is named besides", function()
    for _, case in ipairs(TRIES) do
      local said = try({ case[1] }, "--allow", "default," .. case[2])[1]
      assert.falsy(said:find("is not allowed", 1, true), case[1] .. ": " .. said)
    end
    for index, said in ipairs(try(texts_of(TRIES), "--allow", "all")) do
      assert.falsy(said:find("is not allowed", 1, true), TRIES[index][1] .. ": " .. said)
    end
  end)

  it("is always what cannot reach beyond the script", function()
    for _, list in ipairs { "none", "default", "all" } do
      for index, said in ipairs(try(ALWAYS, "--allow", list)) do
        assert.equal("true", said:match("^%l+"), ALWAYS[index] .. ": " .. said)
      end
    end
  end)

  it("is never what would break the host", function()
    for _, list in ipairs { "none", "all" } do
      for index, said in ipairs(try(texts_of(NEVER), "--allow", list)) do
        assert.truthy(said:find("^false"), NEVER[index][1] .. ": " .. said)
        assert.truthy(said:find(NEVER[index][2], 1, true)
          or said:find("not a", 1, true), NEVER[index][1] .. ": " .. said)
      end
    end
  end)

  it("is not a C module of its own folder, or a file by another way, unless named", function()
    os.execute(("cp \"$(lua5.4 -e 'print(package.searchpath(\"lpeg\", package.cpath))')\" "
      .. "'%s/mine.so' && mkdir '%s/sub'"):format(folder, folder))
    hosting.write(folder .. "/sub/script.lua", "")
    local said = try {
      "require 'mine'",
      "package.searchers[3]('lpeg')",
      "package.cpath = '/none/?.so' require 'lpeg'",
      "package.path = 'FOLDER/sub/../../?.lua' package.searchers[2]('"
        .. folder:match("[^/]+$") .. ".own')",
    }
    for index, each in ipairs(said) do
      assert.truthy(each:find("is not allowed to scripts here", 1, true), index .. ": " .. each)
    end
  end)

  it("is not what a script that changes the library would have it be", function()
    local said = try({
      "package.searchpath = function() return nil end require 'luv'",
      "package.searchpath = function() return {} end require 'none'",
      "local real = package package = { searchpath = print, cpath = '' } require 'lfs'",
      "package.cpath = nil setmetatable(package, { __index = print }) require 'lfs'",
      "package.cpath = package.searchpath('lfs', package.cpath) require 'cjson.x-lfs'",
      "io.stdin:read()",
    }, "--allow", "cjson")
    for index, each in ipairs(said) do
      assert.truthy(each:find("^false"), index .. ": " .. each)
      assert.truthy(each:find("is not allowed to scripts here", 1, true)
        or each:find("not found", 1, true), index .. ": " .. each)
    end
  end)

  it("names the line that requires what is not allowed", function()
    hosting.write(folder .. "/asks.lua", "\n\nreturn require 'lpeg'")
    local said = try { "require 'lpeg'", "require 'asks'" }
    assert.truthy(said[1]:find("/script.lua:2: module 'lpeg'", 1, true), said[1])
    assert.truthy(said[2]:find("/asks.lua:3: module 'lpeg'", 1, true), said[2])
  end)

  it("is a list of names", function()
    for _, list in ipairs { "", "a,,b", "os execute", "default,", "*" } do
      local result = process.run { hosting.program, "run", "--allow", list, "x.lua" }
      assert.equal(2, result.code)
      assert.truthy(result:text():find("--allow takes names", 1, true))
    end
  end)
end)
