--- Files as Kubernetes mounts them: what is read is a symbolic link through
--- `..data`, which is swapped by a rename, so the file itself sees no event.

local uv = require "luv"

local token = {}

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

---@class Mounted
---@field folder string
---@field path string of the first file
local Mounted = {}
Mounted.__index = Mounted

--- Mounts files, by name, in `folder`.
---@param folder string
---@param files table<string, string>
function token.mount(folder, files)
  local self = setmetatable({ folder = folder, version = 0 }, Mounted)
  self:replace(files)
  for name in pairs(files) do
    assert(uv.fs_symlink("..data/" .. name, folder .. "/" .. name))
    self.path = folder .. "/" .. name
  end
  return self
end

--- Swaps all of them at once.
function Mounted:replace(files)
  self.version = self.version + 1
  local name = ("..%d"):format(self.version)
  assert(uv.fs_mkdir(self.folder .. "/" .. name, 448))
  for file, text in pairs(files) do write(self.folder .. "/" .. name .. "/" .. file, text) end
  assert(uv.fs_symlink(name, self.folder .. "/..data_tmp"))
  assert(uv.fs_rename(self.folder .. "/..data_tmp", self.folder .. "/..data"))
end

return token
