--- The globals that a Lua text assigns, wherever in it: read from what Lua 5.4
--- compiles it to, so that nothing has to run.

local globals = {}

local SETTABUP = 15 -- opcode: UpValue[A][K[B]] := RK(C)
local STRING_TAGS = { [0x04] = true, [0x14] = true }
local SIZES = { [0x03] = 8, [0x13] = 8, [0x00] = 0, [0x01] = 0, [0x11] = 0 }

---@class iotops.testing.Bytecode what string.dump gives, being read
---@field private bytes string
---@field private at integer
local Reader = {}
Reader.__index = Reader

function Reader:byte()
  local value = self.bytes:byte(self.at)
  self.at = self.at + 1
  return value
end

-- Seven bits a byte, the highest first; the last has its top bit set.
function Reader:number()
  local value = 0
  repeat
    local byte = self:byte()
    value = value << 7 | byte & 0x7f
  until byte & 0x80 ~= 0
  return value
end

function Reader:text()
  local size = self:number()
  if size == 0 then
    return nil
  end
  local text = self.bytes:sub(self.at, self.at + size - 2)
  self.at = self.at + size - 1
  return text
end

function Reader:skip(count)
  self.at = self.at + count
end

function Reader:constants()
  local list = {}
  for index = 0, self:number() - 1 do
    local tag = self:byte()
    if STRING_TAGS[tag] then
      list[index] = self:text()
    else
      self:skip(assert(SIZES[tag], "another version of Lua"))
    end
  end
  return list
end

-- The line of each instruction.
function Reader:lines(first)
  local count, lines, absolute = self:number(), {}, {}
  local from = self.at
  self:skip(count)
  for _ = 1, self:number() do
    local pc = self:number()
    absolute[pc] = self:number()
  end
  local line = first
  for pc = 0, count - 1 do
    local step = string.unpack("i1", self.bytes, from + pc)
    line = step == -0x80 and absolute[pc] or line + step
    lines[pc] = line
  end
  return lines
end

-- Adds the assignments of a function and of those in it.
function Reader:fn(found)
  self:text() -- source
  local first = self:number()
  self:number() -- its last line
  self:skip(3)  -- parameters, whether variadic, stack
  local code = self:number()
  local at = self.at
  self:skip(code * 4)
  local constants = self:constants()
  local upvalues = self:number()
  self:skip(upvalues * 3)
  local inner = {}
  for _ = 1, self:number() do
    self:fn(inner)
  end
  local lines = self:lines(first)
  for _ = 1, self:number() do -- local variables
    self:text()
    self:number()
    self:number()
  end
  local names = {}
  for index = 0, self:number() - 1 do
    names[index] = self:text()
  end
  for pc = 0, code - 1 do
    local word = string.unpack("<I4", self.bytes, at + pc * 4)
    local name = constants[word >> 16 & 0xff]
    if word & 0x7f == SETTABUP and names[word >> 7 & 0xff] == "_ENV" and name then
      found[#found + 1] = { name = name, line = lines[pc] }
    end
  end
  table.move(inner, 1, #inner, #found + 1, found)
end

-- Signature, version, format, data that transmission would spoil, and the sizes
-- of an instruction, an integer and a float with one of each.
local HEADER = "\27Lua\x54\0\x19\x93\r\n\x1a\n\4\8\8" .. string.pack("<i8d", 0x5678, 370.5)

--- The assignments to globals in a text, in the order of their lines; none when
--- the text cannot be compiled.
---@param text string
---@return {name: string, line: integer}[]
function globals.assigned(text)
  local found = {}
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  local chunk = load(text, "=text", "t")
  local bytes = chunk and string.dump(chunk) or ""
  if bytes:sub(1, #HEADER) == HEADER then
    -- After the header comes the number of upvalues of the main function.
    setmetatable({ bytes = bytes, at = #HEADER + 2 }, Reader):fn(found)
  end
  table.sort(found, function(a, b) return a.line < b.line end)
  return found
end

return globals
