local cjson = require "cjson"
local iotops = require "iotops"

local json = iotops.json

local function round(value)
  return assert(json.decode(assert(json.encode(value))))
end

local function refused(text)
  local value, err = json.decode(text)
  assert.is_nil(value)
  assert.equal("invalid payload", err.kind)
  return err.message
end

local function unwritable(value)
  local text, err = json.encode(value)
  assert.is_nil(text)
  assert.equal("invalid payload", err.kind)
  return err.message
end

describe("JSON", function()
  it("keeps every 64-bit integer an exact integer", function()
    for _, n in ipairs { 0, 1, -1, 1 << 53, (1 << 53) + 1, math.maxinteger, math.mininteger } do
      local read = round(n)
      assert.equal("integer", math.type(read))
      assert.equal(n, read)
    end
    assert.equal("9223372036854775807", json.encode(math.maxinteger))
  end)

  it("keeps floats floats, in the shortest text that reads the same", function()
    assert.equal("0.1", json.encode(0.1))
    assert.equal("1.0", json.encode(1.0))
    assert.equal("1e+300", json.encode(1e300))
    assert.equal("0.30000000000000004", json.encode(0.1 + 0.2))
    for _, n in ipairs { 0.1, 1.0, -2.5, 1e300, 5e-324, 1 / 3, 2 ^ 63, 1.7976931348623157e308 } do
      local read = round(n)
      assert.equal("float", math.type(read))
      assert.equal(n, read)
    end
  end)

  it("writes every real so that it reads as the same bits", function()
    local state = 88172645463325252
    local function random() -- xorshift, the same each time
      state = state ~ (state << 13)
      state = state ~ (state >> 7)
      state = state ~ (state << 17)
      return state
    end
    for i = 1, 20000 do
      local n = i % 2 == 0 and (random() % 2000000000) / 10 ^ (random() % 9)
        or string.unpack("d", string.pack("i8", random()))
      if i % 4 == 0 then n = -n end
      if n == n and n ~= math.huge and n ~= -math.huge then
        assert.equal(string.pack("d", n), string.pack("d", round(n)))
      end
    end
    assert.equal("-0.0", json.encode(-0.0))
    assert.equal("0.0", json.encode(0.0))
    assert.equal("21.53", json.encode(21.53))
    assert.equal("999999999.5", json.encode(999999999.5))
    assert.equal("-9223372036854775808", json.encode(math.mininteger))
  end)

  it("refuses integers that do not fit 64 bits instead of bending them", function()
    refused("9223372036854775808")
    refused("[-9223372036854775809]")
  end)

  it("tells an empty list from an empty object, and keeps it over a round trip", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal('{"a":[]}', json.encode(json.decode '{"a":[]}'))
    assert.equal("[1,2]", json.encode(json.array { 1, 2 }))
  end)

  it("shares null with lua-cjson", function()
    assert.equal(cjson.null, iotops.null)
    assert.equal("[null,1]", json.encode { cjson.null, 1 })
    assert.equal('{"a":null}', cjson.encode(json.decode '{"a":null}'))
    assert.equal(iotops.null, json.decode "null")
  end)

  it("understands marks of newer lua-cjsons for empty lists", function()
    local marked = {}
    cjson.empty_array_mt = {}
    cjson.empty_array = io.stdout and iotops.any -- any light userdata will do
    assert.equal("[]", json.encode(setmetatable(marked, cjson.empty_array_mt)))
    assert.equal("[[]]", json.encode { cjson.empty_array })
    cjson.empty_array_mt, cjson.empty_array = nil, nil
  end)

  it("writes and reads every kind of text", function()
    for _, text in ipairs { "", "a\"b\\c", "\0\1\31", "\b\f\n\r\t", "äöü€😀", "/", "\127" } do
      assert.equal(text, round(text))
      assert.same({ [text] = text }, text == "" and { [""] = round("") } or
        text:find("\0", 1, true) and { [text] = round(text) } or round { [text] = text })
    end
    assert.equal("😀", json.decode '"\\ud83d\\ude00"')
  end)

  it("takes the last of equal keys", function()
    assert.equal(2, json.decode '{"a":1,"a":2}'.a)
  end)

  it("refuses what is not JSON, saying where", function()
    for _, text in ipairs { "", " ", "{", "[1,]", "{'a':1}", "nul", "1 2", "[1", '"\1"', "NaN",
      "Infinity", "01", "+1", ".5", "1.", "0x10", '"\\x"', '"\\ud800"', '{"a"}', "[1]x", "\0" } do
      refused(text)
    end
    assert.match("at byte", refused "[1,}")
  end)

  it("refuses texts that are not UTF-8", function()
    for _, bytes in ipairs { "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82",
      "\x80" } do
      refused('"' .. bytes .. '"')
      assert.match("UTF%-8", unwritable { text = bytes })
    end
  end)

  it("reads 128 levels and refuses more, and far more", function()
    local function nested(levels) return ("["):rep(levels) .. ("]"):rep(levels) end
    assert.is_table(json.decode(nested(128)))
    assert.match("deeper than 128", refused(nested(129)))
    refused(nested(100000))
    refused(('{"a":'):rep(100000))
  end)

  it("refuses a table inside itself", function()
    local loop = {}
    loop.loop = loop
    assert.match("loop%.loop", unwritable(loop))
  end)

  it("names the path of what it cannot write", function()
    assert.match("value%.a%[2%]%.f as JSON: a function", unwritable { a = { 1, { f = print } } })
    assert.match("value%.x as JSON: not a finite number", unwritable { x = 0 / 0 })
    assert.match("not a finite number", unwritable(math.huge))
    assert.match("value%[1%]", unwritable { -math.huge })
  end)

  it("refuses lists with holes and tables of both kinds", function()
    assert.match("list with holes", unwritable { 1, nil, 3, x = 1 })
    assert.match("list with holes", unwritable { 1, 2, x = 1 })
    assert.match("list with holes", unwritable { [5] = 1 })
    assert.match("key that is no string", unwritable { [1.5] = 1 })
    assert.match("key that is no string", unwritable { [true] = 1 })
  end)

  it("goes on well after a failure in the middle of a text", function()
    unwritable { "long enough to be written first", print }
    assert.equal("[1]", json.encode { 1 })
  end)

  it("reads and writes large values", function()
    local list = {}
    for i = 1, 20000 do list[i] = { n = i, text = ("x"):rep(i % 50) } end
    assert.same(list, round(list))
  end)

  it("survives every prefix and every flipped byte of a text", function()
    local text = '{"a":[1,2.5,-3e2,true,false,null],"b":"\\u00e4\\n","c":{"d":"é"}}'
    for i = 1, #text - 1 do
      refused(text:sub(1, i))
      for _, byte in ipairs { 0, 0x22, 0x5b, 0x7d, 0x80, 0xff } do
        json.decode(text:sub(1, i - 1) .. string.char(byte) .. text:sub(i + 1))
      end
    end
  end)
end)
