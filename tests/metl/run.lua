--- The conformance run: run.lua FOLDER [LEVEL] [CASE]

local folder, level, only = ...

local function given(text)
  return text ~= "" and text or nil
end

if not given(folder) then
  print("usage: make metl METL_DIR=FOLDER [METL_LEVEL=1|2] [METL_CASE=NAME]")
  return false
end
return require("metl.suite_run").all(folder, given(level) or "1", given(only))
