--- Authorities and certificates for tests, made by openssl.

local process = require "process"

local pki = {}

local function openssl(...)
  local run = process.run { "openssl", ... }
  if run.code ~= 0 then error("openssl: " .. run:text(), 3) end
end

function pki.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

function pki.write(path, ...)
  local file = assert(io.open(path, "wb"))
  file:write(...)
  file:close()
  return path
end

---@class Authority
---@field cert string path of its certificate
---@field private key string
local Authority = {}
Authority.__index = Authority

--- An authority that trusts itself.
---@param folder string where its files go
function pki.authority(folder, name)
  local self = setmetatable({
    folder = folder, name = name, cert = ("%s/%s-ca.pem"):format(folder, name),
    key = ("%s/%s-ca.key"):format(folder, name),
  }, Authority)
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-days", "1", "-subj", "/CN=" .. name, "-keyout", self.key, "-out", self.cert)
  return self
end

---@class Issued
---@field cert string path
---@field key string path

--- Issues a certificate.
---@param name string its common name
---@param options? {hosts: string?, days: integer?, authority: boolean?, password: string?}
---@return Issued|Authority
function Authority:issue(name, options)
  options = options or {}
  local base = ("%s/%s"):format(self.folder, name)
  local issued = { cert = base .. ".pem", key = base .. ".key", folder = self.folder, name = name }
  local extensions = options.hosts and "subjectAltName=" .. options.hosts .. "\n" or ""
  if options.authority then
    extensions = extensions .. "basicConstraints=critical,CA:true\n"
    setmetatable(issued, Authority)
  end
  pki.write(base .. ".ext", extensions)
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-subj", "/CN=" .. name, "-keyout", issued.key, "-out", base .. ".csr")
  openssl("x509", "-req", "-in", base .. ".csr", "-CA", self.cert, "-CAkey", self.key,
    "-CAcreateserial", "-days", tostring(options.days or 1), "-extfile", base .. ".ext",
    "-out", issued.cert)
  if options.password then
    openssl("pkcs8", "-topk8", "-in", issued.key, "-out", base .. ".enc", "-passout",
      "pass:" .. options.password)
    issued.key = base .. ".enc"
  end
  return issued
end

return pki
