/*
** The codec of the state store, byte string by byte string (services.md
** sections 3.2 to 3.4).
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/resp3.h"

static iotops_text of(const char *bytes) {
  return iotops_text_of(bytes);
}

static void assert_text(iotops_text text, const char *expected) {
  assert_int_equal(text.size, strlen(expected));
  assert_memory_equal(text.data, expected, text.size);
}

static void requests_are_written_as_the_tables_show(void **state) {
  (void)state;
  iotops_context *context;
  assert_int_equal(iotops_context_new(NULL, &context, NULL), 0);
  static const struct {
    const char *blobs[6];
    const char *bytes;
  } cases[] = {
      {{"GET", "testkey"}, "*2\r\n$3\r\nGET\r\n$7\r\ntestkey\r\n"},
      {{"SET", "SETKEY2", "VALUE5"},
       "*3\r\n$3\r\nSET\r\n$7\r\nSETKEY2\r\n$6\r\nVALUE5\r\n"},
      {{"SET", "testkey", "testvalue", "NEX", "PX", "10000"},
       "*6\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$3\r\nNEX\r\n"
       "$2\r\nPX\r\n$5\r\n10000\r\n"},
      {{"VDEL", "SETKEY2", "ABC"},
       "*3\r\n$4\r\nVDEL\r\n$7\r\nSETKEY2\r\n$3\r\nABC\r\n"},
      {{"KEYNOTIFY", "SOMEKEY", "STOP"},
       "*3\r\n$9\r\nKEYNOTIFY\r\n$7\r\nSOMEKEY\r\n$4\r\nSTOP\r\n"},
      {{"SET", "k", ""}, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    iotops_text blobs[6];
    size_t count = 0;
    while (count < 6 && cases[i].blobs[count] != NULL) {
      blobs[count] = of(cases[i].blobs[count]);
      count++;
    }
    iotops_text bytes = resp3_write_blobs(context, blobs, count);
    assert_text(bytes, cases[i].bytes);
    iotops_free(context, (char *)bytes.data);
  }
  iotops_context_free(context);
}

static void answers_are_read_as_the_tables_show(void **state) {
  (void)state;
  resp3_value value;
  assert_true(resp3_read_scalar(of("+OK\r\n"), &value));
  assert_int_equal(value.type, RESP3_STRING);
  assert_text(value.text, "OK");
  assert_true(resp3_read_scalar(of(":-1\r\n"), &value));
  assert_int_equal(value.type, RESP3_NUMBER);
  assert_int_equal(value.number, -1);
  assert_true(resp3_read_scalar(of("$4\r\n1234\r\n"), &value));
  assert_int_equal(value.type, RESP3_BLOB);
  assert_text(value.text, "1234");
  assert_true(resp3_read_scalar(of("$0\r\n\r\n"), &value));
  assert_int_equal(value.type, RESP3_BLOB);
  assert_int_equal(value.text.size, 0);
  assert_true(resp3_read_scalar(of("$-1\r\n"), &value));
  assert_int_equal(value.type, RESP3_NULL);
}

static void a_blob_may_hold_any_byte(void **state) {
  (void)state;
  static const char bytes[] = "$6\r\na\0\r\nb\n\r\n";
  resp3_value value;
  assert_true(
      resp3_read_scalar((iotops_text){bytes, sizeof bytes - 1}, &value));
  assert_int_equal(value.text.size, 6);
  assert_memory_equal(value.text.data, "a\0\r\nb\n", 6);
}

static void the_word_of_an_error_is_stripped_in_every_spelling(void **state) {
  (void)state;
  static const char *const spellings[] = {
      "-ERR syntax error\r\n", "-ERR: syntax error\r\n", "-syntax error\r\n"};
  for (size_t i = 0; i < 3; i++) {
    resp3_value value;
    assert_true(resp3_read_scalar(of(spellings[i]), &value));
    assert_int_equal(value.type, RESP3_ERROR);
    assert_text(value.text, "syntax error");
  }
}

static void numbers_are_exact_to_64_bits_and_not_beyond(void **state) {
  (void)state;
  resp3_value value;
  assert_true(resp3_read_scalar(of(":9223372036854775807\r\n"), &value));
  assert_true(value.number == INT64_MAX);
  assert_true(resp3_read_scalar(of(":-9223372036854775808\r\n"), &value));
  assert_true(value.number == INT64_MIN);
  assert_false(resp3_read_scalar(of(":9223372036854775808\r\n"), &value));
  assert_false(resp3_read_scalar(of(":-9223372036854775809\r\n"), &value));
}

static void malformed_answers_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "\r\n",
                                    "+",
                                    "+OK",
                                    "+OK\r",
                                    "+OK\n",
                                    "+OK\r\n ",
                                    "OK\r\n",
                                    "$5\r\nabcd",
                                    "$3\r\nabcd\r\n",
                                    "$4\r\nabc\r\n",
                                    "$-2\r\n",
                                    "$\r\n",
                                    "$x\r\n",
                                    "$99999999999999999999\r\n",
                                    ":\r\n",
                                    ":1x\r\n",
                                    ":+1\r\n",
                                    ":1\r\n:2\r\n",
                                    "*-1\r\n",
                                    "*1\r\n",
                                    "*9999999999\r\n",
                                    "*0\r\n",
                                    "+a\nb\r\n",
                                    "$4\r\nabcdXX"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    resp3_value value;
    assert_false(resp3_read_scalar(of(bad[i]), &value));
  }
}

static void a_count_is_not_believed_beyond_the_bytes_at_hand(void **state) {
  (void)state;
  resp3_value value;
  iotops_text rest = of("*3\r\n+\r\n+\r\n");
  assert_false(resp3_read(&rest, &value));
  rest = of("*2\r\n+\r\n+\r\n");
  assert_true(resp3_read(&rest, &value));
  assert_int_equal(value.count, 2);
}

/* Every prefix of a good payload is refused, in memory of its exact size. */
static void a_payload_cut_at_any_byte_is_refused(void **state) {
  (void)state;
  static const char whole[] =
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$3\r\nabc\r\n";
  for (size_t size = 0; size < sizeof whole - 1; size++) {
    char *bytes = malloc(size + 1);
    memcpy(bytes, whole, size);
    char *exact = realloc(bytes, size > 0 ? size : 1);
    iotops_text rest = {exact, size};
    resp3_value value;
    bool good = resp3_read(&rest, &value);
    for (size_t i = 0; good && i < 4; i++)
      good = resp3_read(&rest, &value);
    assert_false(good);
    free(exact);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(requests_are_written_as_the_tables_show),
      cmocka_unit_test(answers_are_read_as_the_tables_show),
      cmocka_unit_test(a_blob_may_hold_any_byte),
      cmocka_unit_test(the_word_of_an_error_is_stripped_in_every_spelling),
      cmocka_unit_test(numbers_are_exact_to_64_bits_and_not_beyond),
      cmocka_unit_test(malformed_answers_are_refused),
      cmocka_unit_test(a_count_is_not_believed_beyond_the_bytes_at_hand),
      cmocka_unit_test(a_payload_cut_at_any_byte_is_refused),
  };
  return cmocka_run_group_tests_name("resp3", tests, NULL, NULL);
}
