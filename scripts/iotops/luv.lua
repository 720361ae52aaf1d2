--- Notices when a script opens luv, whose loop is then run along with ours:
--- its callbacks may wait, and an error in one ends nothing but itself.

local core = require "iotops.core"

local luv = {}

-- What `require` would do if nothing were preloaded.
local function load(name)
  local tried = {}
  for _, search in ipairs(package.searchers) do
    local loader, where = search(name)
    if type(loader) == "function" then
      return core.on_main_thread(loader, name, where)
    elseif type(loader) == "string" then
      tried[#tried + 1] = loader
    end
  end
  error(("module '%s' not found (Debian's package is lua-luv):%s"):format(name,
    table.concat(tried)), 3)
end

--- Embeds luv, now or at its first `require`.
function luv.watch()
  local loaded = package.loaded.luv
  if type(loaded) == "table" then
    core.embed_luv(loaded)
    return
  end
  local preloaded = package.preload.luv
  package.preload.luv = function(name)
    package.preload.luv = preloaded
    local module = load(name)
    core.embed_luv(module)
    return module
  end
end

return luv
