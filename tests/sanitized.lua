--- What a C program that links our library needs in a build with sanitizers.

local sanitized = { flags = "" }

if (os.getenv("SANITIZE") or "") ~= "" then
  sanitized.flags = "-fsanitize=" .. os.getenv("SANITIZE")
end

return sanitized
