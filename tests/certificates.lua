--- Certificates for tests: an authority and a server's certificate of its
--- making, valid for localhost and 127.0.0.1 for a day.

local process = require "process"

local certificates = {}

local function openssl(...)
  local run = process.run { "openssl", ... }
  if run.code ~= 0 then error("openssl: " .. run:text(), 3) end
end

--- Makes ca.pem, server.pem and server.key in `folder`.
---@param folder string
---@return {ca: string, cert: string, key: string} their paths
function certificates.make(folder)
  local ca, ca_key = folder .. "/ca.pem", folder .. "/ca.key"
  local cert, key = folder .. "/server.pem", folder .. "/server.key"
  local request = folder .. "/server.csr"
  local extensions = folder .. "/server.ext"
  local file = assert(io.open(extensions, "w"))
  file:write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
  file:close()
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-days", "1", "-subj", "/CN=iotops test authority", "-keyout", ca_key, "-out", ca)
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-subj", "/CN=localhost", "-keyout", key, "-out", request)
  openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
    "-days", "1", "-extfile", extensions, "-out", cert)
  return { ca = ca, cert = cert, key = key }
end

return certificates
