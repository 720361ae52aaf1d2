local luv = {}

function luv.watch() end

return luv
