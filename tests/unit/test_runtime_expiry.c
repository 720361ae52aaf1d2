/*
** test_runtime_expiry.c -- until when certificates and tokens are good, by
** what their files hold; 0 for whatever else may be in a file.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "runtime/expiry.h"

typedef struct world {
  iotops_context *context;
  char path[64];
} world;

static int begin(void **state) {
  world *world = test_calloc(1, sizeof *world);
  if (iotops_context_new(NULL, &world->context, NULL) != 0)
    return -1;
  strcpy(world->path, "/tmp/iotops-expiry-XXXXXX");
  int fd = mkstemp(world->path);
  if (fd < 0)
    return -1;
  close(fd);
  *state = world;
  return 0;
}

static int end(void **state) {
  world *world = *state;
  unlink(world->path);
  iotops_context_free(world->context);
  test_free(world);
  return 0;
}

static void put(const world *world, const char *text) {
  FILE *file = fopen(world->path, "we");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static uint64_t of_token(const world *world, const char *text) {
  put(world, text);
  return expiry_of_token(world->context, world->path);
}

static void a_token_says_when_it_ends(void **state) {
  const world *world = *state;
  /* {"exp":1900000000}, {"sub":"a?>","exp":1.9e9}, and with a line end. */
  assert_int_equal(of_token(world, "e30.eyJleHAiOjE5MDAwMDAwMDB9.c2ln"),
                   1900000000);
  assert_int_equal(
      of_token(world, "e30.eyJzdWIiOiJhPz4iLCJleHAiOjEuOWU5fQ.c2ln"),
      1900000000);
  assert_int_equal(of_token(world, "e30.eyJleHAiOjE5MDAwMDAwMDB9.c2ln\n"),
                   1900000000);
}

static void what_is_no_token_does_not_say(void **state) {
  const world *world = *state;
  static const char *const texts[] = {
      "",
      "secret",
      ".",
      "..",
      "e30..c2ln",
      "e30.eyJleHAiOjE5MDAwMDAwMDB9",         /* no signature */
      "e30.e30.c2ln",                         /* {} */
      "e30.W10.c2ln",                         /* [] */
      "e30.eyJleHAiOiIxOTAwMDAwMDAwIn0.c2ln", /* a text */
      "e30.eyJleHAiOi0xfQ.c2ln",              /* -1 */
      "e30.eyJleHAiOjFlMzA4fQ.c2ln",          /* 1e308 */
      "e30.!!!!.c2ln",
      "e30.e.c2ln"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    assert_int_equal(of_token(world, texts[i]), 0);
  unlink(world->path);
  assert_int_equal(expiry_of_token(world->context, world->path), 0);
  assert_int_equal(expiry_of_token(world->context, "/dev/zero"), 0);
}

/* Writes a certificate, and behind it another text. */
static void put_certificate(const world *world, time_t ends,
                            const char *behind) {
  EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
  X509 *made = X509_new();
  FILE *file = fopen(world->path, "we");
  assert_non_null(key);
  assert_non_null(made);
  assert_non_null(file);
  assert_non_null(ASN1_TIME_set(X509_getm_notBefore(made), 0));
  assert_non_null(ASN1_TIME_set(X509_getm_notAfter(made), ends));
  assert_int_equal(X509_set_pubkey(made, key), 1);
  assert_true(X509_sign(made, key, NULL) > 0);
  assert_int_equal(PEM_write_X509(file, made), 1);
  assert_true(fputs(behind, file) >= 0);
  assert_int_equal(fclose(file), 0);
  X509_free(made);
  EVP_PKEY_free(key);
}

static void a_certificate_says_when_it_ends(void **state) {
  const world *world = *state;
  put_certificate(world, 1900000000, "");
  assert_int_equal(expiry_of_certificate(world->context, world->path),
                   1900000000);
  /* Past 2049 the date is written differently. */
  put_certificate(world, 4000000000, "the rest of a chain\n");
  assert_int_equal(expiry_of_certificate(world->context, world->path),
                   4000000000);
}

static void what_is_no_certificate_does_not_say(void **state) {
  const world *world = *state;
  static const char *const texts[] = {
      "", "secret",
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
      "-----BEGIN CERTIFICATE-----\n"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    put(world, texts[i]);
    assert_int_equal(expiry_of_certificate(world->context, world->path), 0);
  }
  unlink(world->path);
  assert_int_equal(expiry_of_certificate(world->context, world->path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_token_says_when_it_ends),
      TEST(what_is_no_token_does_not_say),
      TEST(a_certificate_says_when_it_ends),
      TEST(what_is_no_certificate_does_not_say),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
