-- Writes carried.c (see carried.h) to standard output.
-- Arguments: the folder that module names start at, then the files.

local root = arg[1] .. "/"
local files = { table.unpack(arg, 2) }
table.sort(files)

local function module_of(path)
  return (path:gsub("%.lua$", ""):gsub("/", "."):gsub("%.init$", ""))
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

print('#include "runtime/carried.h"\n')
local rows = {}
for index, path in ipairs(files) do
  local inner = path:sub(#root + 1)
  local source = read(path)
  io.write(("static const char source_%d[] = {"):format(index))
  for at = 1, #source do
    io.write(at % 20 == 1 and "\n  " or " ", source:byte(at), ",")
  end
  io.write("\n  0};\n\n")
  rows[index] = ('  {"%s", "=%s", source_%d, %d},'):format(
    module_of(inner), inner, index, #source)
end
print("const carried_script carried_scripts[] = {")
print(table.concat(rows, "\n"))
print("  {NULL, NULL, NULL, 0}};")
