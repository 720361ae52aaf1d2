#include "runtime/expiry.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "session/file_read.h"

/* --------------------------------------------------------- certificate -- */

static uint64_t end_of(const X509 *certificate) {
  struct tm parts;
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1)
    return 0;
  time_t end = timegm(&parts);
  return end > 0 ? (uint64_t)end : 0;
}

/* The file has no passphrase that anybody could be asked for. */
static int no_passphrase(char *to, int size, int writes, void *user) {
  (void)to;
  (void)size;
  (void)writes;
  (void)user;
  return -1;
}

uint64_t expiry_of_certificate(iotops_context *context, const char *path) {
  char reason[FILE_REASON_SIZE];
  iotops_text content = {0};
  uint64_t end = 0;
  if (file_read(context, path, EXPIRY_FILE_MAX, &content, reason) != 0)
    return 0;
  BIO *bytes = BIO_new_mem_buf(content.data, (int)content.size);
  X509 *certificate = bytes != NULL
                          ? PEM_read_bio_X509(bytes, NULL, no_passphrase, NULL)
                          : NULL;
  if (certificate != NULL)
    end = end_of(certificate);
  X509_free(certificate);
  BIO_free(bytes);
  ERR_clear_error(); /* the session's own calls look there */
  file_wipe(context, &content);
  return end;
}

/* --------------------------------------------------------------- token -- */

/* Decodes what is in `text`, base64url without padding; its size, or -1. */
static int decode(unsigned char *to, char *text, size_t size) {
  size_t padded = (size + 3) / 4 * 4;
  for (size_t i = 0; i < size; i++) {
    if (text[i] == '-')
      text[i] = '+';
    else if (text[i] == '_')
      text[i] = '/';
  }
  memset(text + size, '=', padded - size);
  int decoded = EVP_DecodeBlock(to, (unsigned char *)text, (int)padded);
  return decoded < 0 ? -1 : decoded - (int)(padded - size);
}

/* The claim `exp` of the claims in `size` bytes of base64url. */
static uint64_t claimed_end(iotops_context *context, const char *claims,
                            size_t size) {
  char *text = iotops_zalloc(context, size + 4);
  unsigned char *decoded = iotops_zalloc(context, size + 4);
  uint64_t end = 0;
  int count = -1;
  if (text == NULL || decoded == NULL)
    goto done;
  memcpy(text, claims, size);
  if ((count = decode(decoded, text, size)) <= 0)
    goto done;
  json_t *root = json_loadb((const char *)decoded, (size_t)count, 0, NULL);
  const json_t *claim = json_object_get(root, "exp");
  if (json_is_number(claim) && json_number_value(claim) > 0 &&
      json_number_value(claim) < 1e15)
    end = (uint64_t)json_number_value(claim);
  json_decref(root);
done:
  if (text != NULL)
    explicit_bzero(text, size + 4);
  if (decoded != NULL)
    explicit_bzero(decoded, size + 4);
  iotops_free(context, text);
  iotops_free(context, decoded);
  return end;
}

uint64_t expiry_of_token(iotops_context *context, const char *path) {
  char reason[FILE_REASON_SIZE];
  iotops_text content = {0};
  uint64_t end = 0;
  if (file_read(context, path, EXPIRY_FILE_MAX, &content, reason) != 0)
    return 0;
  /* header.claims.signature */
  const char *first = memchr(content.data, '.', content.size);
  const char *claims = first != NULL ? first + 1 : NULL;
  size_t left =
      claims != NULL ? content.size - (size_t)(claims - content.data) : 0;
  const char *last = left > 0 ? memchr(claims, '.', left) : NULL;
  if (last != NULL)
    end = claimed_end(context, claims, (size_t)(last - claims));
  file_wipe(context, &content);
  return end;
}
