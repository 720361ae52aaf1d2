--- Opens luv for a script; its loop is then run along with ours: its callbacks
--- may wait, and an error in one ends nothing but itself.

local core = require "iotops.core"

local luv = {}

-- What `require` would do if this were not preloaded.
local function find(name)
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

--- The module, embedded.
---@param name string
---@return table
function luv.load(name)
  local module = find(name)
  core.embed_luv(module)
  return module
end

return luv
