#include "session/tls.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "session/ca_directory.h"
#include "session/file_read.h"

enum { PEM_SIZE_MAX = 4 * 1024 * 1024 };

/* --------------------------------------------------------------- files -- */

static const char *openssl_reason(void) {
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != NULL ? reason : "not usable";
}

static int cannot_load(const iotops_settings *settings, setting_id id,
                       const char *path, const char *reason,
                       iotops_error *err) {
  iotops_error_configuration(err, settings_written_as(settings, id),
                             iotops_text_of(path), "cannot load %s \"%s\": %s",
                             settings_name(id, SOURCE_API), path, reason);
  ERR_clear_error();
  return -1;
}

static int read_pem(const iotops_settings *settings, setting_id id,
                    const char *path, iotops_text *content, iotops_error *err) {
  char reason[FILE_REASON_SIZE];
  if (file_read(settings->context, path, PEM_SIZE_MAX, content, reason) != 0)
    return cannot_load(settings, id, path, reason, err);
  return 0;
}

/* The end of a PEM file shows as a missing start line. */
static bool at_pem_end(void) {
  unsigned long error = ERR_peek_last_error();
  return ERR_GET_LIB(error) == ERR_LIB_PEM &&
         ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/* ------------------------------------------------------------- CA files -- */

static int add_ca_file(SSL_CTX *tls, const iotops_settings *settings,
                       setting_id id, const char *path, iotops_error *err) {
  X509_STORE *store = SSL_CTX_get_cert_store(tls);
  iotops_text content;
  BIO *pem = NULL;
  int count = 0, rc = -1;
  X509 *certificate;

  if (read_pem(settings, id, path, &content, err) != 0)
    return -1;
  ERR_clear_error();
  pem = BIO_new_mem_buf(content.data, (int)content.size);
  if (pem == NULL) {
    cannot_load(settings, id, path, openssl_reason(), err);
    goto done;
  }
  while ((certificate = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL)) != NULL) {
    int added = X509_STORE_add_cert(store, certificate);
    X509_free(certificate);
    if (added != 1)
      break;
    count++;
  }
  if (!at_pem_end())
    cannot_load(settings, id, path, openssl_reason(), err);
  else if (count == 0)
    cannot_load(settings, id, path, "no certificate found", err);
  else
    rc = 0;

done:
  ERR_clear_error();
  BIO_free(pem);
  file_wipe(settings->context, &content);
  return rc;
}

static int add_ca_directory(SSL_CTX *tls, const iotops_settings *settings,
                            iotops_error *err) {
  ca_directory directory;
  char path[PATH_MAX];
  int rc = 0;
  if (ca_directory_open(&directory, settings, err) != 0)
    return -1;
  while (rc == 0 && ca_directory_next(&directory, path, sizeof path))
    rc = add_ca_file(tls, settings, SETTING_CA_DIRECTORY, path, err);
  ca_directory_close(&directory);
  return rc;
}

static int add_trust(SSL_CTX *tls, const iotops_settings *settings,
                     iotops_error *err) {
  const char *file = settings_string(settings, SETTING_CA_FILE);
  bool has_directory = settings_has(settings, SETTING_CA_DIRECTORY);
  if (file != NULL &&
      add_ca_file(tls, settings, SETTING_CA_FILE, file, err) != 0)
    return -1;
  if (has_directory && add_ca_directory(tls, settings, err) != 0)
    return -1;
  if (file != NULL || has_directory)
    return 0;
  if (SSL_CTX_set_default_verify_paths(tls) == 1)
    return 0;
  iotops_error_configuration(
      err, settings_name(SETTING_CA_FILE, SOURCE_API), iotops_text_of(""),
      "cannot load the system's CA certificates: %s", openssl_reason());
  ERR_clear_error();
  return -1;
}

/* -------------------------------------------------- client certificate -- */

/* The first one is ours, the others lead up to its authority. */
static int use_chain(SSL_CTX *tls, const iotops_settings *settings,
                     iotops_error *err) {
  const char *path = settings_string(settings, SETTING_CERT_FILE);
  iotops_text content;
  BIO *pem = NULL;
  X509 *certificate;
  int count = 0, rc = -1;
  bool good = true;

  if (read_pem(settings, SETTING_CERT_FILE, path, &content, err) != 0)
    return -1;
  ERR_clear_error();
  pem = BIO_new_mem_buf(content.data, (int)content.size);
  while (good && pem != NULL &&
         (certificate = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL)) != NULL) {
    good = count == 0 ? SSL_CTX_use_certificate(tls, certificate) == 1
                      : SSL_CTX_add1_chain_cert(tls, certificate) == 1;
    if (count++ == 0 &&
        X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
      iotops_log(settings->context, IOTOPS_LOG_WARN, "session",
                 "the certificate in cert_file \"%s\" has expired; the "
                 "broker decides whether it still takes it",
                 path);
    X509_free(certificate);
  }
  if (!good || !at_pem_end())
    cannot_load(settings, SETTING_CERT_FILE, path, openssl_reason(), err);
  else if (count == 0)
    cannot_load(settings, SETTING_CERT_FILE, path, "no certificate found", err);
  else
    rc = 0;
  ERR_clear_error();
  BIO_free(pem);
  file_wipe(settings->context, &content);
  return rc;
}

typedef struct key_password {
  iotops_text line; /* absent: there is none */
  bool asked;
} key_password;

/* Stands in for OpenSSL's own, which would ask at the terminal. */
static int give_password(char *buffer, int size, int writing, void *user) {
  key_password *password = user;
  (void)writing;
  password->asked = true;
  if (password->line.data == NULL || size < 0 ||
      password->line.size > (size_t)size)
    return -1;
  memcpy(buffer, password->line.data, password->line.size);
  return (int)password->line.size;
}

/* OpenSSL 3 says so in its own way. */
static bool no_key_in_pem(void) {
  return at_pem_end() ||
         ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_UNSUPPORTED;
}

static int use_key(SSL_CTX *tls, const iotops_settings *settings,
                   iotops_error *err) {
  iotops_context *context = settings->context;
  const char *path = settings_string(settings, SETTING_KEY_FILE);
  const char *password_path =
      settings_string(settings, SETTING_KEY_PASSWORD_FILE);
  iotops_text content = {NULL, 0}, secret = {NULL, 0};
  key_password password = {{NULL, 0}, false};
  BIO *pem = NULL;
  EVP_PKEY *key = NULL;
  int rc = -1;

  if (password_path != NULL) {
    if (read_pem(settings, SETTING_KEY_PASSWORD_FILE, password_path, &secret,
                 err) != 0)
      goto done;
    password.line.data = secret.data;
    password.line.size = strcspn(secret.data, "\r\n");
  }
  if (read_pem(settings, SETTING_KEY_FILE, path, &content, err) != 0)
    goto done;
  ERR_clear_error();
  pem = BIO_new_mem_buf(content.data, (int)content.size);
  if (pem != NULL)
    key = PEM_read_bio_PrivateKey(pem, NULL, give_password, &password);
  if (key == NULL && password.asked && password_path == NULL)
    cannot_load(settings, SETTING_KEY_FILE, path,
                "it is encrypted and key_password_file is not set", err);
  else if (key == NULL && password.asked)
    cannot_load(settings, SETTING_KEY_FILE, path,
                "it cannot be decrypted with the first line of "
                "key_password_file",
                err);
  else if (key == NULL && no_key_in_pem())
    cannot_load(settings, SETTING_KEY_FILE, path, "no private key found", err);
  else if (key == NULL || SSL_CTX_use_PrivateKey(tls, key) != 1 ||
           SSL_CTX_check_private_key(tls) != 1)
    cannot_load(settings, SETTING_KEY_FILE, path, openssl_reason(), err);
  else
    rc = 0;

done:
  ERR_clear_error();
  EVP_PKEY_free(key);
  BIO_free(pem);
  file_wipe(context, &content);
  file_wipe(context, &secret);
  return rc;
}

/* ------------------------------------------------------- verification -- */

typedef struct name_list {
  char *text;
  size_t size, length;
} name_list;

static void add_name(name_list *list, const char *name, size_t size) {
  if (size > 255 || list->length + size + 8 > list->size)
    return;
  if (list->length > 0) {
    memcpy(list->text + list->length, ", ", 2);
    list->length += 2;
  }
  for (size_t i = 0; i < size; i++) /* a certificate is anybody's text */
    list->text[list->length++] =
        name[i] > 0x20 && name[i] < 0x7F ? name[i] : '?';
  list->text[list->length] = '\0';
}

static void list_names(X509 *certificate, char *text, size_t size) {
  name_list list = {text, size, 0};
  GENERAL_NAMES *names =
      X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  text[0] = '\0';
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      add_name(&list, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
               (size_t)ASN1_STRING_length(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
      char address[64];
      const unsigned char *bytes = ASN1_STRING_get0_data(name->d.iPAddress);
      bool v4 = ASN1_STRING_length(name->d.iPAddress) == 4;
      bool v6 = ASN1_STRING_length(name->d.iPAddress) == 16;
      if ((v4 || v6) && inet_ntop(v4 ? AF_INET : AF_INET6, bytes, address,
                                  sizeof address) != NULL)
        add_name(&list, address, strlen(address));
    }
  }
  GENERAL_NAMES_free(names);
}

static void print_time(const ASN1_TIME *time, char *text, size_t size) {
  BIO *bio = BIO_new(BIO_s_mem());
  int length = 0;
  if (bio != NULL && ASN1_TIME_print(bio, time) == 1)
    length = BIO_read(bio, text, (int)size - 1);
  text[length > 0 ? length : 0] = '\0';
  BIO_free(bio);
}

/* Notes what the message will want to say; the verdict stays OpenSSL's. */
static int note_failure(int good, X509_STORE_CTX *store) {
  SSL *ssl =
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  tls_report *report = ssl != NULL ? SSL_get_app_data(ssl) : NULL;
  X509 *certificate = X509_STORE_CTX_get_current_cert(store);
  if (good || report == NULL || certificate == NULL)
    return good;
  switch (X509_STORE_CTX_get_error(store)) {
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH:
    list_names(certificate, report->detail, sizeof report->detail);
    break;
  case X509_V_ERR_CERT_HAS_EXPIRED:
    print_time(X509_get0_notAfter(certificate), report->detail,
               sizeof report->detail);
    break;
  case X509_V_ERR_CERT_NOT_YET_VALID:
    print_time(X509_get0_notBefore(certificate), report->detail,
               sizeof report->detail);
    break;
  default:
    X509_NAME_oneline(X509_get_issuer_name(certificate), report->detail,
                      (int)sizeof report->detail);
    break;
  }
  return good;
}

/* ------------------------------------------------------------- contexts -- */

SSL_CTX *tls_context_new(const iotops_settings *settings, iotops_error *err) {
  ERR_clear_error();
  SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
  if (tls == NULL) {
    iotops_error_set(err, IOTOPS_INVALID_STATE,
                     "cannot make a TLS context: "
                     "%s",
                     openssl_reason());
    ERR_clear_error();
    return NULL;
  }
  SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
  SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(tls, 1);
  SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, note_failure);
  if (add_trust(tls, settings, err) != 0 ||
      (settings_has(settings, SETTING_CERT_FILE) &&
       (use_chain(tls, settings, err) != 0 ||
        use_key(tls, settings, err) != 0))) {
    SSL_CTX_free(tls);
    return NULL;
  }
  return tls;
}

SSL *tls_client_new(SSL_CTX *tls, int fd, const iotops_settings *settings,
                    tls_report *report, iotops_error *err) {
  const char *host = settings_string(settings, SETTING_HOSTNAME);
  unsigned char address[16];
  bool literal = inet_pton(AF_INET, host, address) == 1 ||
                 inet_pton(AF_INET6, host, address) == 1;
  ERR_clear_error();
  SSL *ssl = SSL_new(tls);
  bool good = ssl != NULL && SSL_set_fd(ssl, fd) == 1;
  if (good && literal)
    good = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
  if (good && !literal)
    good = SSL_set1_host(ssl, host) == 1 &&
           SSL_set_tlsext_host_name(ssl, host) == 1;
  if (!good) {
    iotops_error_set(err, IOTOPS_INVALID_STATE,
                     "cannot begin TLS with \"%s\": %s", host,
                     openssl_reason());
    ERR_clear_error();
    SSL_free(ssl);
    return NULL;
  }
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  SSL_set_app_data(ssl, report);
  SSL_set_connect_state(ssl);
  return ssl;
}

/* --------------------------------------------------------- explanations -- */

/* Names the setting that most likely has to be looked after. */
static void blame(iotops_error *err, const iotops_settings *settings,
                  setting_id id) {
  iotops_error_name(err->property_name,
                    iotops_text_of(settings_written_as(settings, id)));
}

static void explain_trust(const char *peer, long verdict,
                          const iotops_settings *settings, const char *issuer,
                          iotops_error *err) {
  const char *reason = X509_verify_cert_error_string(verdict);
  const char *file = settings_string(settings, SETTING_CA_FILE);
  const char *name = "ca_file";
  if (file == NULL) {
    file = settings_string(settings, SETTING_CA_DIRECTORY);
    name = "ca_directory";
  }
  if (file != NULL)
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the certificate of %s is not trusted: %s (issuer "
                     "\"%s\"); put its authority's certificate into %s \"%s\"",
                     peer, reason, issuer, name, file);
  else
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the certificate of %s is not trusted: %s (issuer "
                     "\"%s\"); set ca_file to its authority's certificate",
                     peer, reason, issuer);
}

static void explain_verdict(const char *peer, long verdict,
                            const iotops_settings *settings,
                            const tls_report *report, iotops_error *err) {
  const char *detail = report->detail;
  switch (verdict) {
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH:
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the certificate of %s is for another host (%s); set "
                     "hostname to a name it is for, or give the broker a "
                     "certificate for this one",
                     peer, detail[0] != '\0' ? detail : "no names in it");
    break;
  case X509_V_ERR_CERT_HAS_EXPIRED:
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the certificate of %s, or one of its authorities, "
                     "expired on %s; renew it, or set this machine's clock "
                     "right",
                     peer, detail);
    break;
  case X509_V_ERR_CERT_NOT_YET_VALID:
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the certificate of %s, or one of its authorities, is "
                     "not valid before %s; set this machine's clock right",
                     peer, detail);
    break;
  default:
    explain_trust(peer, verdict, settings, detail, err);
    break;
  }
}

/* The peer's word about a certificate of ours, sent or missing. */
static bool about_our_certificate(int reason) {
  switch (reason) {
  case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
  case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
  case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
  case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
  case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
  case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
  case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
  case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    return true;
  default:
    return false;
  }
}

static bool not_tls(int reason) {
  return reason == SSL_R_WRONG_VERSION_NUMBER ||
         reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
         reason == SSL_R_HTTP_REQUEST || reason == SSL_R_UNEXPECTED_MESSAGE;
}

static bool too_old(int reason) {
  return reason == SSL_R_UNSUPPORTED_PROTOCOL ||
         reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION;
}

static void explain_reason(const char *peer, const iotops_settings *settings,
                           bool finished, iotops_error *err) {
  unsigned long error = ERR_peek_last_error();
  const char *text = openssl_reason();
  int reason = ERR_GET_REASON(error);
  const char *cert = settings_string(settings, SETTING_CERT_FILE);
  if (about_our_certificate(reason) && cert != NULL)
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "%s refused our certificate (%s); check cert_file \"%s\"",
                     peer, text, cert);
  else if (about_our_certificate(reason))
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "%s refused to speak TLS with us (%s); if it asks for a "
                     "client certificate, set cert_file and key_file",
                     peer, text);
  else if (not_tls(reason) && !finished)
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "%s does not answer in TLS (%s); check tcp_port, or set "
                     "use_tls to false",
                     peer, text);
  else if (too_old(reason))
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "%s does not speak TLS 1.2 or newer (%s)", peer, text);
  else
    iotops_error_set(err, IOTOPS_MQTT_ERROR, "TLS with %s failed: %s", peer,
                     text);
  if (about_our_certificate(reason))
    blame(err, settings, SETTING_CERT_FILE);
  else if (not_tls(reason) && !finished)
    blame(err, settings, SETTING_USE_TLS);
}

bool tls_peer_left(int result, int system_error) {
  if (result == SSL_ERROR_SYSCALL)
    return system_error == 0;
  return result == SSL_ERROR_ZERO_RETURN ||
         (result == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_last_error()) ==
                                         SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

void tls_explain(SSL *ssl, int result, int system_error,
                 const iotops_settings *settings, const tls_report *report,
                 iotops_error *err) {
  char peer[300];
  bool finished = SSL_is_init_finished(ssl);
  long verdict = SSL_get_verify_result(ssl);
  snprintf(peer, sizeof peer, "%s:%u",
           settings_string(settings, SETTING_HOSTNAME),
           (unsigned)settings_number(settings, SETTING_TCP_PORT));
  if (!finished && result == SSL_ERROR_SSL && verdict != X509_V_OK) {
    explain_verdict(peer, verdict, settings, report, err);
    blame(err, settings,
          verdict == X509_V_ERR_HOSTNAME_MISMATCH ||
                  verdict == X509_V_ERR_IP_ADDRESS_MISMATCH
              ? SETTING_HOSTNAME
              : SETTING_CA_FILE);
  } else if (tls_peer_left(result, system_error))
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     finished ? "%s closed the connection"
                              : "%s closed the connection during the TLS "
                                "handshake; check that tcp_port is its TLS "
                                "port",
                     peer);
  else if (result == SSL_ERROR_SYSCALL)
    iotops_error_set(err, IOTOPS_MQTT_ERROR, "the connection to %s broke%s: %s",
                     peer, finished ? "" : " during the TLS handshake",
                     strerror(system_error));
  else
    explain_reason(peer, settings, finished, err);
  ERR_clear_error();
}
