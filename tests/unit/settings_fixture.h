/*
** settings_fixture.h -- settings, and an environment and a folder of files to
** fill them from.
*/
#ifndef UNIT_SETTINGS_FIXTURE_H
#define UNIT_SETTINGS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session/settings_fields.h"

typedef struct fixture {
  iotops_context *context;
  iotops_settings *settings;
  char folder[64];
  iotops_error err;
} fixture;

/* ---------------------------------------------------------- environment -- */

typedef struct variable {
  const char *name, *value;
} variable;

/* An array of variables that ends in a NULL name stands for getenv. */
static inline const char *lookup(void *user, const char *name) {
  for (const variable *v = user; v->name != NULL; v++)
    if (strcmp(v->name, name) == 0)
      return v->value;
  return NULL;
}

static inline int make_fixture(void **state) {
  fixture *f = calloc(1, sizeof *f);
  *state = f;
  if (f == NULL)
    return -1;
  strcpy(f->folder, "/tmp/iotops-settings-XXXXXX");
  if (mkdtemp(f->folder) == NULL ||
      iotops_context_new(NULL, &f->context, NULL) != 0)
    return -1;
  f->settings = iotops_settings_new(f->context);
  return f->settings == NULL;
}

static inline int free_fixture(void **state) {
  fixture *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
  iotops_settings_free(f->settings);
  iotops_context_free(f->context);
  free(f);
  return system(command);
}

/* FOLDER/name; a few live at a time. */
static inline const char *path_of(const fixture *f, const char *name) {
  static char paths[32][160];
  static int next;
  char *path = paths[next++ % 32];
  snprintf(path, sizeof paths[0], "%s/%s", f->folder, name);
  return path;
}

static inline void write_bytes(const char *path, const void *bytes,
                               size_t size) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  fclose(file);
}

static inline const char *write_file(const fixture *f, const char *name,
                                     const char *text) {
  const char *path = path_of(f, name);
  write_bytes(path, text, strlen(text));
  return path;
}

static inline int put(fixture *f, const char *name, const char *value) {
  return iotops_settings_set(f->settings, name, iotops_text_of(value), &f->err);
}

static inline void expect_error(const fixture *f, const char *message,
                                const char *name, const char *value) {
  assert_string_equal(f->err.message, message);
  assert_int_equal(f->err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(f->err.is_shallow);
  assert_false(f->err.is_remote);
  assert_string_equal(f->err.property_name, name);
  assert_int_equal(f->err.has_property_value, value != NULL);
  if (value != NULL)
    assert_string_equal(f->err.property_value, value);
}

static inline void expect_text(const fixture *f, const char *name,
                               const char *expected) {
  iotops_text text = iotops_settings_get(f->settings, name);
  if (!iotops_text_equal(text, iotops_text_of(expected)))
    fail_msg("%s is \"%.*s\" and not \"%s\"", name, (int)text.size, text.data,
             expected == NULL ? "absent" : expected);
}

#endif
