/*
** fuzz_store.c -- what the state store may send: refusals, key notifications
** and pages of keys are read without looking past their bytes.
*/
#include "fuzz.h"

#include "services/store_change.h"
#include "services/store_error.h"
#include "services/store_page.h"

static bool known_name(const char *name) {
  return name[0] != '\0' && strlen(name) < IOTOPS_ERROR_NAME_SIZE;
}

static void refusals(const uint8_t *data, size_t size) {
  iotops_error err;

  store_error_refused(&err, (iotops_text){(const char *)data, size});
  FUZZ_CHECK(err.kind == IOTOPS_SERVICE_ERROR);
  FUZZ_CHECK(known_name(err.service_error));
  store_error_unexpected(&err, (iotops_text){(const char *)data, size});
  FUZZ_CHECK(err.kind == IOTOPS_UNEXPECTED_PAYLOAD);
}

static void notifications(const uint8_t *data, size_t size) {
  static char bytes[STORE_NOTIFY_KEY_MAX];
  iotops_text text = {(const char *)data, size};
  iotops_store_notification what;
  iotops_text key = store_change_key(text, bytes);

  if (key.data) {
    FUZZ_CHECK(key.size >= 1 && key.size <= size / 2);
    for (size_t i = 0; i < key.size; i++) {
      char hex[3];

      snprintf(hex, sizeof hex, "%02x", (unsigned char)key.data[i]);
      FUZZ_CHECK(strncasecmp(hex, text.data + size - 2 * (key.size - i), 2) ==
                 0);
    }
  }
  if (store_change_read(text, &what)) {
    FUZZ_CHECK(what.deleted == (what.value.data == NULL));
    FUZZ_CHECK(fuzz_within(what.value, data, size));
  }
}

static void pages(const uint8_t *data, size_t size) {
  store_page page;
  iotops_text *keys;

  if (!store_page_read((iotops_text){(const char *)data, size}, &page))
    return;
  FUZZ_CHECK(page.count < size);
  FUZZ_CHECK(fuzz_within(page.token, data, size));
  keys = calloc(page.count + 1, sizeof *keys);
  FUZZ_CHECK(keys != NULL);
  store_page_keys(&page, keys);
  for (size_t i = 0; i < page.count; i++)
    FUZZ_CHECK(keys[i].data != NULL && fuzz_within(keys[i], data, size));
  free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  refusals(data, size);
  notifications(data, size);
  pages(data, size);
  return 0;
}
