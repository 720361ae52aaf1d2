--- The command line of a stand-in.

local options = {}

---@param name string of the stand-in
---@param message string
---@param status? integer
function options.fail(name, message, status)
  io.stderr:write(("iotops standin %s: %s\n"):format(name, message))
  os.exit(status or 2, true)
end

---@param known table[] {name, placeholder, help[, "integer"]}
local function help(introduction, known, example)
  io.write(introduction)
  for _, option in ipairs(known) do
    local lines, left = {}, ("--%s %s"):format(option[1], option[2])
    for line in option[3]:gmatch "[^\n]+" do
      lines[#lines + 1] = ("  %-22s%s\n"):format(left, line)
      left = ""
    end
    io.write(table.concat(lines))
  end
  io.write("  -h, --help            this text\n\n",
    "Exit status: 0 stopped by a signal, 1 the session ended, 2 arguments or configuration.\n\n",
    example)
end

--- Reads `arg`.  Ends the program for --help or a mistake.
---@param name string
---@param introduction string of the help text
---@param known table[]
---@param example string
---@return table<string, any> values by name
function options.read(name, introduction, known, example)
  local by_name, values, at = {}, {}, 1
  for _, option in ipairs(known) do
    by_name["--" .. option[1]] = option
  end
  while arg and arg[at] do
    local word, value = arg[at]:match "^(%-%-[^=]+)=(.*)$"
    word = word or arg[at]
    if word == "-h" or word == "--help" then
      help(introduction, known, example)
      os.exit(0, true)
    end
    local option = by_name[word]
    if not option then
      options.fail(name, ("there is no option %s; `iotops standin %s --help` lists them")
        :format(arg[at], name))
    end
    if not value then
      at = at + 1
      value = arg[at]
    end
    if not value then
      options.fail(name, word .. " needs a value")
    elseif option[4] == "integer" then
      local number = math.tointeger(tonumber(value))
      if not number or number < 1 then
        options.fail(name, ("%s takes a number from 1, not %q"):format(word, value))
      end
      value = number
    end
    values[option[1]] = value
    at = at + 1
  end
  return values
end

return options
