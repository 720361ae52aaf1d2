--- busted under Lua 5.4: Debian's own `busted` runs on whatever `lua` is.
package.path = "tests/?.lua;" .. package.path
require "busted.runner" { standalone = false }
