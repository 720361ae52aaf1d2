#include "luv.h"

bool iotops_lua_has_luv(lua_State *L) {
  (void)L;
  return false;
}

void luv_touch(iotops_lua *state) {
  (void)state;
}

void luv_detach(iotops_lua *state) {
  (void)state;
}

void open_luv(lua_State *L) {
  (void)L;
}
