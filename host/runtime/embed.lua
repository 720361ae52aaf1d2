-- Writes the table of embedded.h: each Lua file named on the command line as
-- an array of bytes.  Usage: lua5.4 embed.lua OUTPUT ROOT FILE...
local output, root = arg[1], arg[2]

---@param path string below root, such as "iotops/init.lua"
---@return string # what `require` calls it
local function module_name(path)
  local name = path:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  return name
end

local parts = { '#include "runtime/embedded.h"\n' }
local rows = {}
for index = 3, #arg do
  local path = assert(arg[index]:match("^" .. root:gsub("%p", "%%%0") .. "/(.+)$"),
    "not below the root: " .. arg[index])
  local file = assert(io.open(arg[index], "rb"))
  local source = file:read("a")
  file:close()
  assert(load(source, "@" .. path, "t"))
  local bytes = {}
  for at = 1, #source, 16 do
    bytes[#bytes + 1] = "  " .. table.concat({ source:byte(at, at + 15) }, ",")
  end
  -- The closing zero keeps an empty file a valid array.
  bytes[#bytes + 1] = "  0"
  parts[#parts + 1] = ("static const unsigned char module_%d[] = {\n%s};\n")
    :format(index, table.concat(bytes, ",\n"))
  rows[#rows + 1] = ("  { %q, %q, module_%d, %d },\n")
    :format(module_name(path), "@" .. path, index, #source)
end
parts[#parts + 1] = "const embedded_module embedded_modules[] = {\n"
  .. table.concat(rows) .. "  { 0, 0, 0, 0 } };\n"
parts[#parts + 1] = ("const size_t embedded_module_count = %d;\n"):format(#rows)

local file = assert(io.open(output, "wb"))
assert(file:write(table.concat(parts)))
assert(file:close())
