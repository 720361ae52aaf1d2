/*
** tls.h -- how the library speaks TLS (session.md section 3).
**
** TLS 1.2 or newer; the chain and the name of the peer are always verified,
** against the CA files of the settings alone when there are any, else against
** the system's roots.  Files are read when a context is made, never later.
*/
#ifndef SESSION_TLS_H
#define SESSION_TLS_H

#include <openssl/ssl.h>

#include "session/settings_fields.h"

/*
** Makes the context for one connection attempt, owned by the caller.  NULL
** with invalid configuration that names the file and OpenSSL's reason.
*/
SSL_CTX *tls_context_new(const iotops_settings *settings, iotops_error *err);

/* What verification found wrong, for tls_explain(); zero it before use. */
typedef struct tls_report {
  char detail[512];
} tls_report;

/*
** Makes a client on the connected, non-blocking socket `fd`, bound to the
** hostname of the settings.  `report` outlives it.  NULL with invalid state.
*/
SSL *tls_client_new(SSL_CTX *tls, int fd, const iotops_settings *settings,
                    tls_report *report, iotops_error *err);

/*
** Explains why the last operation on `ssl` failed, which gave `result` of
** SSL_get_error() and left errno as `system_error`: an MQTT error without a
** reason code that says what, where and what to do.  Empties OpenSSL's queue.
*/
void tls_explain(SSL *ssl, int result, int system_error,
                 const iotops_settings *settings, const tls_report *report,
                 iotops_error *err);

/* True when the reason of a failed operation is that the peer just left. */
bool tls_peer_left(int result, int system_error);

#endif
