/*
** session_config.h -- the settings of a session as it uses them.
**
** Read when the session is made, from settings that were checked as a whole
** before; what concerns the connection may change between two connections.
*/
#ifndef IOTOPS_SESSION_SESSION_CONFIG_H
#define IOTOPS_SESSION_SESSION_CONFIG_H

#include "session/outbox.h"
#include "session/settings_fields.h"

typedef struct session_config {
  iotops_settings *settings; /* owned; what is borrowed below is in it */
  const char *client_id;     /* borrowed, terminated */
  bool clean_start;
  uint16_t keep_alive_s;
  uint32_t session_expiry_s;
  uint16_t receive_max;     /* what the broker is asked for */
  uint16_t max_unacked;     /* what it may send; >= receive_max */
  uint32_t packet_size_max; /* 0: none */
  uint64_t connection_timeout_ms;
  uint64_t ping_timeout_ms;
  size_t queue_qos0, queue_qos1;
  outbox_full when_full;
  uint16_t max_inflight;
  bool aio_features;
  uint64_t max_held_bytes;    /* 0: unlimited */
  bool credentials_renewable; /* some come from files */
  int version;                /* 5 or 4 */
  iotops_user_property
      *user_properties; /* owned; for CONNECT, texts borrowed */
  size_t user_property_count;
} session_config;

/* Copies and reads `settings`.  Fails with invalid state. */
int session_config_init(session_config *config, iotops_context *context,
                        const iotops_settings *settings, iotops_error *err);
/*
** Takes over of `settings`, in exchange, what may change between two
** connections (iotops_session_reconfigure()).
*/
void session_config_renew(session_config *config, iotops_settings *settings);
void session_config_free(session_config *config);

#endif
