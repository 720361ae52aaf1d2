local process = require "process"

local PROGRAM = (os.getenv("BUILD") or "build") .. "/iotops"

describe("the demo", function()
  after_each(process.kill_all)

  it("loses nothing and says what it has counted", function()
    local run = process.run({ "lua5.4", "scripts/samples/demo/run.lua", PROGRAM },
      { seconds = 60 })
    assert.equal(0, run.code, run:text())
    local sent, handled, acknowledged, commands, reloads = run.out[#run.out]:match(
      "^demo: (%d+) sent, (%d+) handled, (%d+) acknowledged, "
        .. "(%d+) commands answered, (%d+) reloads, 0 lost$")
    assert.is_not_nil(sent, run:text())
    assert.equal("8000", sent)
    assert.equal(sent, handled)
    assert.equal(sent, acknowledged)
    assert.is_true(tonumber(commands) >= 10)
    assert.equal("5", reloads)
    -- The sums go on through every change of the script.
    local last = 0
    for _, line in ipairs(run.out) do
      local readings = tonumber(line:match("summary  limit %d+: (%d+) readings"))
      assert.is_true(not readings or readings > last, run:text())
      last = readings or last
    end
    assert.is_true(last > 1000, run:text())
  end)
end)
