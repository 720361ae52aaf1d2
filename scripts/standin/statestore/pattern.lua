--- Patterns of SCAN: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`, over characters of
--- UTF-8.  Nothing escapes; a wildcard is meant literally inside brackets.

local pattern = {}

---@alias standin.Step "*"|"?"|integer|{negated: boolean, ranges: integer[][]}

-- The set that begins at `at`, the place after "[", and where it ends.
local function read_set(characters, at)
  local set = { negated = false, ranges = {} }
  if characters[at] == 0x21 then -- "!"
    set.negated, at = true, at + 1
  end
  local first = at
  -- A "]" that comes first is meant literally.
  while characters[at] and (characters[at] ~= 0x5D or at == first) do
    local low, high = characters[at], characters[at]
    if characters[at + 1] == 0x2D and characters[at + 2] and characters[at + 2] ~= 0x5D then
      high, at = characters[at + 2], at + 2
    end
    set.ranges[#set.ranges + 1] = { low, high }
    at = at + 1
  end
  if not characters[at] then
    return nil -- never closed
  end
  return set, at
end

--- What a pattern means; nil when it can match nothing.
---@param text string
---@return standin.Step[]?
function pattern.compile(text)
  if not utf8.len(text) then
    return nil
  end
  local characters, steps = { utf8.codepoint(text, 1, -1) }, {}
  local at = 1
  while characters[at] do
    local character = characters[at]
    local step = character ---@type standin.Step?
    if character == 0x2A then
      step = "*"
    elseif character == 0x3F then
      step = "?"
    elseif character == 0x5B then
      step, at = read_set(characters, at + 1)
      if not step then
        return nil
      end
    end
    if step ~= "*" or steps[#steps] ~= "*" then
      steps[#steps + 1] = step
    end
    at = at + 1
  end
  return steps
end

local function fits(step, character)
  if step == "?" then
    return true
  elseif type(step) ~= "table" then
    return step == character
  end
  for _, range in ipairs(step.ranges) do
    if character >= range[1] and character <= range[2] then
      return not step.negated
    end
  end
  return step.negated
end

--- Whether the whole key matches.  Goes back to the last `*` alone, so the
--- time is bounded by the product of the lengths.
---@param steps standin.Step[]?
---@param key string
---@return boolean
function pattern.matches(steps, key)
  if not steps or not utf8.len(key) then
    return false
  end
  local characters = {}
  for _, character in utf8.codes(key) do
    characters[#characters + 1] = character
  end
  local at, step, star, resume = 1, 1, nil, 1
  while at <= #characters do
    if steps[step] == "*" then
      star, resume, step = step, at, step + 1
    elseif steps[step] and fits(steps[step], characters[at]) then
      at, step = at + 1, step + 1
    elseif star then
      resume = resume + 1
      at, step = resume, star + 1
    else
      return false
    end
  end
  while steps[step] == "*" do
    step = step + 1
  end
  return steps[step] == nil
end

return pattern
