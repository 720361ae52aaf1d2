#include "protocol/property_list.h"

void property_list_init(property_list *list, iotops_context *context) {
  *list = (property_list){.context = context};
}

void property_list_clear(property_list *list) {
  iotops_free(list->context, list->pairs);
  property_list_init(list, list->context);
}

void property_list_reset(property_list *list) {
  list->count = 0;
  list->failed = false;
}

static void add(property_list *list, const iotops_user_property *pair) {
  if (list->failed)
    return;
  if (list->count == list->capacity) {
    size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
    iotops_user_property *pairs = NULL;
    if (capacity <= SIZE_MAX / sizeof *pairs)
      pairs =
          iotops_resize(list->context, list->pairs, capacity * sizeof *pairs);
    if (pairs == NULL) {
      list->failed = true;
      return;
    }
    list->pairs = pairs;
    list->capacity = capacity;
  }
  list->pairs[list->count++] = *pair;
}

void property_list_add(property_list *list, const char *name,
                       iotops_text value) {
  iotops_user_property pair = {iotops_text_of(name), value};
  add(list, &pair);
}

static bool has(const property_list *list, size_t count, iotops_text name) {
  for (size_t i = 0; i < count; i++)
    if (iotops_text_equal(list->pairs[i].name, name))
      return true;
  return false;
}

void property_list_add_user_data(property_list *list,
                                 const iotops_user_property *pairs,
                                 size_t count, const char *component) {
  size_t own = list->count;
  for (size_t i = 0; i < count; i++) {
    iotops_text name = pairs[i].name;
    if (!has(list, own, name))
      add(list, &pairs[i]);
    else
      iotops_log(list->context, IOTOPS_LOG_WARN, component,
                 "the user data has a pair called %.*s, which is left out: "
                 "the protocol writes that property itself",
                 (int)(name.size < 128 ? name.size : 128), name.data);
  }
}
