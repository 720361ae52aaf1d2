/*
** packet_write.h -- a growing run of bytes, and the packets that the session
** writes itself into it.
**
** Everything the library cannot send, or must not be left to send, is encoded
** here: CONNECT as a whole (session.md section 4), PUBACK, AUTH, DISCONNECT
** and PINGREQ.  A packet is appended whole or, when memory is short, not at
** all: every encoder returns false then and leaves the buffer as it was.
*/
#ifndef IOTOPS_SESSION_PACKET_WRITE_H
#define IOTOPS_SESSION_PACKET_WRITE_H

#include "session/packet.h"

/* Bytes from `start` to `end` are waiting; zero it but for `context`. */
typedef struct packet_buffer {
  iotops_context *context; /* borrowed */
  uint8_t *bytes;          /* owned */
  size_t start, end, capacity;
} packet_buffer;

/* Room for `size` more bytes behind `end`; false when memory is short. */
bool packet_buffer_reserve(packet_buffer *buffer, size_t size);
bool packet_buffer_append(packet_buffer *buffer, const void *bytes,
                          size_t size);

/* Forgets the first `size` waiting bytes; gives back memory of a burst. */
void packet_buffer_consume(packet_buffer *buffer, size_t size);
void packet_buffer_clear(packet_buffer *buffer);
void packet_buffer_free(packet_buffer *buffer);

/* All that a CONNECT says; texts are borrowed, absent ones are left out. */
typedef struct packet_connect {
  int version; /* 5 or 4 */
  iotops_text client_id;
  bool clean_start;
  uint16_t keep_alive_s;
  bool has_session_expiry;
  uint32_t session_expiry_s;
  uint16_t receive_max;     /* 65535, the default of the protocol: left out */
  uint32_t packet_size_max; /* 0: left out */
  const iotops_user_property *user_properties;
  size_t user_property_count;
  iotops_text auth_method, auth_data;
  iotops_text username, password;
  const iotops_message *will; /* NULL: none */
  uint32_t will_delay_s;
} packet_connect;

/* False also when a field is longer than the protocol can say. */
bool packet_write_connect(packet_buffer *buffer, const packet_connect *connect);
bool packet_write_puback(packet_buffer *buffer, uint16_t packet_id);
bool packet_write_pingreq(packet_buffer *buffer);
bool packet_write_auth(packet_buffer *buffer, uint8_t reason_code,
                       iotops_text method, iotops_text data);

/* `session_expiry_s` < 0: without the property.  Version 4 says no reason. */
bool packet_write_disconnect(packet_buffer *buffer, int version,
                             uint8_t reason_code, int64_t session_expiry_s);

/* Bytes that the whole PUBLISH of `message` or a SUBSCRIBE will take. */
size_t packet_publish_size(const iotops_message *message, int version);
size_t packet_subscribe_size(size_t filter_size, uint32_t subscription_id,
                             int version);

#endif
