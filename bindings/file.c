/* file.c -- what a journal needs and Lua's files have not. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core.h"

static uint32_t crc_step(uint32_t crc) {
  for (int bit = 0; bit < 8; bit++)
    crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0);
  return crc;
}

/* file.crc32(bytes): the checksum of Ethernet and zip. */
static int file_crc32(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  const uint32_t *table = lua_touserdata(L, lua_upvalueindex(1));
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < size; i++)
    crc = (crc >> 8) ^ table[(crc ^ (unsigned char)bytes[i]) & 0xFF];
  lua_pushinteger(L, (lua_Integer)(crc ^ UINT32_MAX));
  return 1;
}

/* file.sync(file): until the disk has it.  true, or nil and why not. */
static int file_sync(lua_State *L) {
  const luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  luaL_argcheck(L, stream->closef != NULL, 1, "the file is closed");
  if (fflush(stream->f) == 0 && fsync(fileno(stream->f)) == 0) {
    lua_pushboolean(L, true);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

static int make_file(lua_State *L) {
  lua_createtable(L, 0, 2);
  uint32_t *table = lua_newuserdatauv(L, 256 * sizeof *table, 0);
  for (uint32_t i = 0; i < 256; i++)
    table[i] = crc_step(i);
  lua_pushcclosure(L, file_crc32, 1);
  lua_setfield(L, -2, "crc32");
  lua_pushcfunction(L, file_sync);
  lua_setfield(L, -2, "sync");
  return 1;
}

const core_field file_fields[] = {{"file", make_file, true}, {0}};
