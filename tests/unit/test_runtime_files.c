/*
** test_runtime_files.c -- when a script's files count as changed, and when the
** host hears of it.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/source.h"
#include "runtime/watch.h"

typedef struct fixture {
  iotops_context *context;
  char folder[64];
  char path[96];
  source source;
  watch *watch;
  int events;
} fixture;

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static int begin(void **state) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  fixture *f = test_calloc(1, sizeof *f);
  snprintf(f->folder, sizeof f->folder, "/tmp/iotops-test-XXXXXX");
  if (mkdtemp(f->folder) == NULL ||
      iotops_context_new(&options, &f->context, NULL) != 0)
    return -1;
  snprintf(f->path, sizeof f->path, "%s/script.lua", f->folder);
  f->source.context = f->context;
  *state = f;
  return 0;
}

static int end(void **state) {
  fixture *f = *state;
  char command[128];
  source_clear(&f->source);
  watch_close(f->watch);
  for (int i = 0; i < 3; i++)
    iotops_context_run_once(f->context, false);
  iotops_context_free(f->context);
  snprintf(command, sizeof command, "rm -rf %s", f->folder);
  int result = system(command);
  test_free(f);
  return result;
}

/* Reads the fixture's file; -1 with the message in `why`. */
static int read_it(fixture *f, char *text, size_t size, char *why) {
  iotops_error err;
  const char *bytes = NULL;
  size_t length = 0;
  if (source_read(&f->source, f->path, &bytes, &length, &err) != 0) {
    snprintf(why, sizeof err.message, "%s", err.message);
    return -1;
  }
  assert_true(length < size);
  memcpy(text, bytes, length);
  text[length] = '\0';
  return 0;
}

static void a_file_is_read_as_it_is(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  write_file(f->path, "return 1\n");
  assert_int_equal(read_it(f, text, sizeof text, why), 0);
  assert_string_equal(text, "return 1\n");
  assert_false(source_looks_changed(&f->source));
  assert_false(source_is_changed(&f->source));
}

static void other_content_is_a_change(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  write_file(f->path, "return 1\n");
  read_it(f, text, sizeof text, why);
  write_file(f->path, "return 2\n");
  assert_true(source_is_changed(&f->source));
}

static void the_same_content_written_again_is_none(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  write_file(f->path, "return 1\n");
  read_it(f, text, sizeof text, why);
  unlink(f->path);
  usleep(10000);
  write_file(f->path, "return 1\n");
  assert_true(source_looks_changed(&f->source));
  assert_false(source_is_changed(&f->source));
  /* And it is remembered by its new looks. */
  assert_false(source_looks_changed(&f->source));
}

static void a_file_that_vanishes_is_a_change(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  write_file(f->path, "return 1\n");
  read_it(f, text, sizeof text, why);
  unlink(f->path);
  assert_true(source_looks_changed(&f->source));
  assert_true(source_is_changed(&f->source));
}

static void what_cannot_be_read_says_why(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  assert_int_equal(read_it(f, text, sizeof text, why), -1);
  assert_non_null(strstr(why, "No such file"));
  write_file(f->path, "");
  assert_int_equal(read_it(f, text, sizeof text, why), -1);
  assert_non_null(strstr(why, "it is empty"));
  unlink(f->path);
  assert_int_equal(mkdir(f->path, 0700), 0);
  assert_int_equal(read_it(f, text, sizeof text, why), -1);
  assert_non_null(strstr(why, "it is not a file"));
}

static void a_file_that_becomes_readable_is_a_change(void **state) {
  fixture *f = *state;
  char text[64], why[1024];
  read_it(f, text, sizeof text, why);
  assert_false(source_is_changed(&f->source));
  write_file(f->path, "return 1\n");
  assert_true(source_is_changed(&f->source));
}

static void content_has_a_name_wherever_it_is(void **state) {
  fixture *f = *state;
  char text[64], why[1024], first[SOURCE_HASH_SIZE], again[SOURCE_HASH_SIZE];
  char elsewhere[128];
  const char *bytes = NULL;
  size_t size = 0;
  write_file(f->path, "return 1\n");
  read_it(f, text, sizeof text, why);
  source_hash(&f->source, first);
  assert_int_equal(strspn(first, "0123456789abcdef"), 16);
  assert_int_equal(first[16], '\0');
  source_clear(&f->source);
  snprintf(elsewhere, sizeof elsewhere, "%s.copy", f->path);
  write_file(elsewhere, "return 1\n");
  assert_int_equal(source_read(&f->source, elsewhere, &bytes, &size, NULL), 0);
  source_hash(&f->source, again);
  assert_string_equal(first, again);
  write_file(f->path, "return 2\n");
  read_it(f, text, sizeof text, why);
  source_hash(&f->source, again);
  assert_string_not_equal(first, again);
}

static void a_version_is_recalled_without_its_files(void **state) {
  fixture *f = *state;
  char text[64], why[1024], before[SOURCE_HASH_SIZE], after[SOURCE_HASH_SIZE];
  source kept = {.context = f->context}, made = {.context = f->context};
  const char *bytes = NULL;
  size_t size = 0;
  iotops_error err;
  write_file(f->path, "return 1\n");
  read_it(f, text, sizeof text, why);
  source_hash(&f->source, before);
  assert_int_equal(source_copy(&kept, &f->source), 0);
  source_clear(&f->source);
  unlink(f->path);
  assert_true(source_has(&kept, f->path));
  assert_int_equal(source_recall(&made, &kept, f->path, &bytes, &size, &err),
                   0);
  assert_int_equal(size, 9);
  assert_memory_equal(bytes, "return 1\n", 9);
  source_hash(&made, after);
  assert_string_equal(before, after);
  assert_int_equal(
      source_recall(&made, &kept, "/other.lua", &bytes, &size, &err), -1);
  assert_non_null(strstr(err.message, "not part of that version"));
  /* Without its bytes it still tells a change. */
  source_forget_bytes(&made);
  assert_false(source_has(&made, f->path));
  write_file(f->path, "return 1\n");
  assert_false(source_is_changed(&made));
  write_file(f->path, "return 2\n");
  assert_true(source_is_changed(&made));
  source_clear(&kept);
  source_clear(&made);
}

static void files_are_bounded_together(void **state) {
  fixture *f = *state;
  const char *bytes = NULL;
  size_t size = 0;
  iotops_error err;
  write_file(f->path, "x");
  assert_int_equal(truncate(f->path, SOURCE_FILE_LIMIT / 2 - 1), 0);
  for (int i = 0; i < 2; i++)
    assert_int_equal(source_read(&f->source, f->path, &bytes, &size, &err), 0);
  assert_int_equal(source_read(&f->source, f->path, &bytes, &size, &err), -1);
  assert_non_null(strstr(err.message, "larger than 16 MiB"));
}

/* -------------------------------------------------------------- watch -- */

static void told(void *user, bool event) {
  fixture *f = user;
  if (event)
    f->events++;
}

static void run_until_told(fixture *f, int events, uint64_t limit_ms) {
  uint64_t end_ms = iotops_mono_ms(f->context) + limit_ms;
  while (f->events < events && iotops_mono_ms(f->context) < end_ms) {
    iotops_context_run_once(f->context, false);
    usleep(1000);
  }
}

static void watch_it(fixture *f) {
  f->watch = watch_new(f->context, told, f);
  assert_non_null(f->watch);
  watch_folder(f->watch, f->folder);
}

static void a_burst_of_writes_is_told_once(void **state) {
  fixture *f = *state;
  watch_it(f);
  for (int i = 0; i < 5; i++)
    write_file(f->path, "return 1\n");
  run_until_told(f, 2, 200);
  assert_int_equal(f->events, 1);
}

static void
files_that_a_script_writes_beside_it_are_none_of_ours(void **state) {
  fixture *f = *state;
  char other[128];
  snprintf(other, sizeof other, "%s/data.csv", f->folder);
  watch_it(f);
  write_file(other, "1,2\n");
  run_until_told(f, 1, 150);
  assert_int_equal(f->events, 0);
}

static void a_burst_without_end_is_told_nevertheless(void **state) {
  fixture *f = *state;
  watch_it(f);
  for (int i = 0; i < 200 && f->events == 0; i++) {
    write_file(f->path, "return 1\n");
    run_until_told(f, 1, 5);
  }
  assert_int_equal(f->events, 1);
}

static void a_rename_over_the_file_is_told(void **state) {
  fixture *f = *state;
  char other[128];
  snprintf(other, sizeof other, "%s/.new", f->folder);
  write_file(f->path, "return 1\n");
  write_file(other, "return 2\n");
  watch_it(f);
  assert_int_equal(rename(other, f->path), 0);
  run_until_told(f, 1, 500);
  assert_int_equal(f->events, 1);
}

static void the_swap_of_a_mounted_folders_link_is_told(void **state) {
  fixture *f = *state;
  char one[128], two[128], data[128], aside[128], file[160];
  snprintf(one, sizeof one, "%s/..1", f->folder);
  snprintf(two, sizeof two, "%s/..2", f->folder);
  snprintf(data, sizeof data, "%s/..data", f->folder);
  snprintf(aside, sizeof aside, "%s/..data_tmp", f->folder);
  mkdir(one, 0700);
  mkdir(two, 0700);
  snprintf(file, sizeof file, "%s/script.lua", one);
  write_file(file, "return 1\n");
  snprintf(file, sizeof file, "%s/script.lua", two);
  write_file(file, "return 2\n");
  assert_int_equal(symlink("..1", data), 0);
  assert_int_equal(symlink("..data/script.lua", f->path), 0);
  char text[64], why[1024];
  read_it(f, text, sizeof text, why);
  assert_string_equal(text, "return 1\n");
  watch_it(f);
  assert_int_equal(symlink("..2", aside), 0);
  assert_int_equal(rename(aside, data), 0);
  run_until_told(f, 1, 500);
  assert_int_equal(f->events, 1);
  assert_true(source_is_changed(&f->source));
}

static void closing_leaves_nothing_to_be_told(void **state) {
  fixture *f = *state;
  watch_it(f);
  write_file(f->path, "return 1\n");
  watch_close(f->watch);
  f->watch = NULL;
  run_until_told(f, 1, 100);
  assert_int_equal(f->events, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(a_file_is_read_as_it_is),
      TEST(other_content_is_a_change),
      TEST(the_same_content_written_again_is_none),
      TEST(a_file_that_vanishes_is_a_change),
      TEST(what_cannot_be_read_says_why),
      TEST(a_file_that_becomes_readable_is_a_change),
      TEST(content_has_a_name_wherever_it_is),
      TEST(a_version_is_recalled_without_its_files),
      TEST(files_are_bounded_together),
      TEST(a_burst_of_writes_is_told_once),
      TEST(files_that_a_script_writes_beside_it_are_none_of_ours),
      TEST(a_burst_without_end_is_told_nevertheless),
      TEST(a_rename_over_the_file_is_told),
      TEST(the_swap_of_a_mounted_folders_link_is_told),
      TEST(closing_leaves_nothing_to_be_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
