/*
** settings_fields.h -- the settings as the session and its transport read
** them: typed, by number instead of by name.
**
** Every setting is one line of SETTINGS below; names, ranges, defaults and
** the words of each source are said nowhere else.
*/
#ifndef SESSION_SETTINGS_FIELDS_H
#define SESSION_SETTINGS_FIELDS_H

#include "iotops/settings.h"

typedef enum setting_type {
  SETTING_TEXT,    /* UTF-8 without NUL, at most 65535 bytes */
  SETTING_PATH,    /* the same */
  SETTING_SECRET,  /* any bytes, at most 65535; never shown */
  SETTING_BOOL,    /* number 0 or 1 */
  SETTING_INTEGER, /* number */
  SETTING_SECONDS, /* number */
  SETTING_CHOICE   /* number: a publish_queue_full_mode */
} setting_type;

typedef enum publish_queue_full_mode {
  QUEUE_FULL_WAIT,
  QUEUE_FULL_DROP_NEWEST,
  QUEUE_FULL_DROP_OLDEST
} publish_queue_full_mode;

/*
** id, API name, type, least, most, default (NULL: none, number 0),
** environment variable, connection string key, word of the mounted files.
*/
#define SETTINGS(X)                                                            \
  X(HOSTNAME, "hostname", TEXT, 0, 0, NULL, "AIO_BROKER_HOSTNAME", "HostName", \
    "host")                                                                    \
  X(TCP_PORT, "tcp_port", INTEGER, 1, 65535, "8883", "AIO_BROKER_TCP_PORT",    \
    "TcpPort", "host")                                                         \
  X(USE_TLS, "use_tls", BOOL, 0, 1, "true", "AIO_MQTT_USE_TLS", "UseTls",      \
    "tls.mode")                                                                \
  X(CA_FILE, "ca_file", PATH, 0, 0, NULL, "AIO_TLS_CA_FILE", "CaFile", NULL)   \
  X(CA_DIRECTORY, "ca_directory", PATH, 0, 0, NULL, NULL, NULL,                \
    "BROKER_TLS_TRUST_BUNDLE_CACERT_MOUNT_PATH")                               \
  X(CERT_FILE, "cert_file", PATH, 0, 0, NULL, "AIO_TLS_CERT_FILE", "CertFile", \
    NULL)                                                                      \
  X(KEY_FILE, "key_file", PATH, 0, 0, NULL, "AIO_TLS_KEY_FILE", "KeyFile",     \
    NULL)                                                                      \
  X(KEY_PASSWORD_FILE, "key_password_file", PATH, 0, 0, NULL,                  \
    "AIO_TLS_KEY_PASSWORD_FILE", "KeyPasswordFile", NULL)                      \
  X(CLIENT_ID, "client_id", TEXT, 0, 0, NULL, "AIO_MQTT_CLIENT_ID",            \
    "ClientId", "CONNECTOR_ID")                                                \
  X(CLEAN_START, "clean_start", BOOL, 0, 1, "false", "AIO_MQTT_CLEAN_START",   \
    "CleanStart", NULL)                                                        \
  X(KEEP_ALIVE, "keep_alive", SECONDS, 1, 65535, "60", "AIO_MQTT_KEEP_ALIVE",  \
    "KeepAlive", "keepAliveSeconds")                                           \
  X(SESSION_EXPIRY, "session_expiry", SECONDS, 1, UINT32_MAX, "3600",          \
    "AIO_MQTT_SESSION_EXPIRY", "SessionExpiry", "sessionExpirySeconds")        \
  X(RECEIVE_MAX, "receive_max", INTEGER, 1, 65535, "65535", NULL, NULL,        \
    "maxInflightMessages")                                                     \
  X(RECEIVE_PACKET_SIZE_MAX, "receive_packet_size_max", INTEGER, 1,            \
    UINT32_MAX, NULL, NULL, NULL, NULL)                                        \
  X(CONNECTION_TIMEOUT, "connection_timeout", SECONDS, 1, UINT32_MAX, "30",    \
    NULL, NULL, NULL)                                                          \
  X(PING_RESPONSE_TIMEOUT, "ping_response_timeout", SECONDS, 1, 65535, NULL,   \
    NULL, NULL, NULL)                                                          \
  X(USERNAME, "username", TEXT, 0, 0, NULL, "AIO_MQTT_USERNAME", "Username",   \
    NULL)                                                                      \
  X(PASSWORD, "password", SECRET, 0, 0, NULL, NULL, NULL, NULL)                \
  X(PASSWORD_FILE, "password_file", PATH, 0, 0, NULL,                          \
    "AIO_MQTT_PASSWORD_FILE", "PasswordFile", NULL)                            \
  X(SAT_FILE, "sat_file", PATH, 0, 0, NULL, "AIO_SAT_FILE", "SatAuthFile",     \
    "BROKER_SAT_MOUNT_PATH")                                                   \
  X(SAT_DEBOUNCE, "sat_debounce", INTEGER, 0, 3600000, "1000", NULL, NULL,     \
    NULL)                                                                      \
  X(PUBLISH_QUEUE_QOS0, "publish_queue_qos0", INTEGER, 1, UINT32_MAX, "100",   \
    NULL, NULL, NULL)                                                          \
  X(PUBLISH_QUEUE_QOS1, "publish_queue_qos1", INTEGER, 1, UINT32_MAX, "100",   \
    NULL, NULL, NULL)                                                          \
  X(PUBLISH_QUEUE_FULL, "publish_queue_full", CHOICE, 0, 2, "wait", NULL,      \
    NULL, NULL)                                                                \
  X(MAX_INFLIGHT, "max_inflight", INTEGER, 1, 65535, "65535", NULL, NULL,      \
    NULL)                                                                      \
  X(MAX_UNACKED, "max_unacked", INTEGER, 0, 65535, "0", NULL, NULL, NULL)      \
  X(MAX_HELD_BYTES, "max_held_bytes", INTEGER, 0, INT64_MAX, "0", NULL, NULL,  \
    NULL)                                                                      \
  X(AIO_BROKER_FEATURES, "aio_broker_features", BOOL, 0, 1, "true", NULL,      \
    NULL, NULL)                                                                \
  X(AIO_PERSISTENCE, "aio_persistence", BOOL, 0, 1, "false", NULL, NULL, NULL)

typedef enum setting_id {
#define SETTING_ID(id, ...) SETTING_##id,
  SETTINGS(SETTING_ID)
#undef SETTING_ID
      SETTING_COUNT
} setting_id;

typedef enum setting_source {
  SOURCE_API,
  SOURCE_ENVIRONMENT,
  SOURCE_STRING,
  SOURCE_FILES,
  SOURCE_COUNT
} setting_source;

typedef struct setting_value {
  char *text; /* owned, terminated; NULL: unset */
  size_t size;
  uint64_t number;       /* the default's while unset */
  setting_source source; /* where it was set, for errors */
} setting_value;

struct iotops_settings {
  iotops_context *context; /* borrowed */
  setting_source base;     /* where what is missing should have come from */
  setting_value values[SETTING_COUNT];
  iotops_user_property *user_properties; /* owned, texts too */
  size_t user_property_count;
  iotops_message *will; /* owned; NULL: none */
  uint32_t will_delay_s;
};

/* The number of a setting, its default included; 0 without one. */
static inline uint64_t settings_number(const iotops_settings *settings,
                                       setting_id id) {
  return settings->values[id].number;
}

static inline bool settings_bool(const iotops_settings *settings,
                                 setting_id id) {
  return settings->values[id].number != 0;
}

/* The text that was set, terminated; NULL when unset.  Borrowed. */
static inline const char *settings_string(const iotops_settings *settings,
                                          setting_id id) {
  return settings->values[id].text;
}

static inline iotops_text settings_text(const iotops_settings *settings,
                                        setting_id id) {
  iotops_text text = {settings->values[id].text, settings->values[id].size};
  return text;
}

static inline bool settings_has(const iotops_settings *settings,
                                setting_id id) {
  return settings->values[id].text != NULL;
}

/* ping_response_timeout with its default, min(10, keep_alive). */
static inline uint64_t
settings_ping_timeout_s(const iotops_settings *settings) {
  uint64_t keep_alive = settings_number(settings, SETTING_KEEP_ALIVE);
  if (settings_has(settings, SETTING_PING_RESPONSE_TIMEOUT))
    return settings_number(settings, SETTING_PING_RESPONSE_TIMEOUT);
  return keep_alive < 10 ? keep_alive : 10;
}

/* Some credential comes from a file, so that rotation can heal a refusal
** (session.md section 2.3, class cred). */
static inline bool
settings_credentials_renewable(const iotops_settings *settings) {
  return settings_has(settings, SETTING_SAT_FILE) ||
         settings_has(settings, SETTING_PASSWORD_FILE) ||
         settings_has(settings, SETTING_CERT_FILE);
}

/* ------------------------------------------------ between settings*.c -- */

/* What users of `source` call the setting; the API name when they cannot. */
const char *settings_name(setting_id id, setting_source source);

bool settings_has_name(setting_id id, setting_source source);

/* What they call this one, by where it was set or should have been. */
const char *settings_written_as(const iotops_settings *settings, setting_id id);

/* Sets one setting as iotops_settings_set(), coming from `source`. */
int settings_put(iotops_settings *settings, setting_id id,
                 setting_source source, iotops_text value, iotops_error *err);

/* Empties all values and makes `source` the base. */
void settings_start(iotops_settings *settings, setting_source source);

#endif
