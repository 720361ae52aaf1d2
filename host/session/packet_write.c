/* packet_write.c -- buffers and encoders. */
#include "session/packet_write.h"

#include <string.h>

enum {
  SMALLEST = 4096,
  KEPT = 256 * 1024 /* capacity that an empty buffer may hold on to */
};

/* ------------------------------------------------------------ buffer -- */

bool packet_buffer_reserve(packet_buffer *buffer, size_t size) {
  size_t waiting = buffer->end - buffer->start, capacity;
  void *grown;

  if (buffer->capacity - buffer->end >= size)
    return true;
  /* Room in front is worth a move only when the move is small. */
  if (buffer->start >= waiting && buffer->capacity - waiting >= size) {
    if (waiting > 0)
      memcpy(buffer->bytes, buffer->bytes + buffer->start, waiting);
    buffer->start = 0;
    buffer->end = waiting;
    return true;
  }
  if (size > SIZE_MAX / 4 || buffer->end > SIZE_MAX / 4)
    return false;
  capacity = buffer->capacity ? buffer->capacity : SMALLEST;
  while (capacity < buffer->end + size)
    capacity *= 2;
  grown = iotops_resize(buffer->context, buffer->bytes, capacity);
  if (!grown)
    return false;
  buffer->bytes = grown;
  buffer->capacity = capacity;
  return true;
}

bool packet_buffer_append(packet_buffer *buffer, const void *bytes,
                          size_t size) {
  if (size == 0)
    return true;
  if (!packet_buffer_reserve(buffer, size))
    return false;
  memcpy(buffer->bytes + buffer->end, bytes, size);
  buffer->end += size;
  return true;
}

void packet_buffer_consume(packet_buffer *buffer, size_t size) {
  buffer->start += size;
  if (buffer->start == buffer->end)
    packet_buffer_clear(buffer);
}

void packet_buffer_clear(packet_buffer *buffer) {
  buffer->start = buffer->end = 0;
  if (buffer->capacity > KEPT)
    packet_buffer_free(buffer);
}

void packet_buffer_free(packet_buffer *buffer) {
  iotops_free(buffer->context, buffer->bytes);
  buffer->bytes = NULL;
  buffer->start = buffer->end = buffer->capacity = 0;
}

/* ----------------------------------------------------------- writing -- */

/*
** A packet is written in two passes of the same function: one that counts
** and one that stores, so its lengths are known before its first byte.
*/
typedef struct writer {
  uint8_t *at; /* NULL: count only */
  size_t size;
  bool too_long;
} writer;

static void put_bytes(writer *w, const void *bytes, size_t size) {
  if (w->at && size > 0)
    memcpy(w->at + w->size, bytes, size);
  w->size += size;
}

static void put_u8(writer *w, uint8_t value) {
  put_bytes(w, &value, 1);
}

static void put_u16(writer *w, uint16_t value) {
  uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

  put_bytes(w, bytes, 2);
}

static void put_u32(writer *w, uint32_t value) {
  put_u16(w, (uint16_t)(value >> 16));
  put_u16(w, (uint16_t)value);
}

static void put_varint(writer *w, size_t value) {
  do {
    put_u8(w, (uint8_t)((value & 127) | (value > 127 ? 128 : 0)));
    value >>= 7;
  } while (value > 0);
}

static void put_text(writer *w, iotops_text text) {
  if (text.size > PACKET_TEXT_MAX) {
    w->too_long = true;
    return;
  }
  put_u16(w, (uint16_t)text.size);
  put_bytes(w, text.data, text.size);
}

static void put_text_property(writer *w, uint8_t id, iotops_text text) {
  if (!text.data)
    return;
  put_u8(w, id);
  put_text(w, text);
}

static void put_users(writer *w, const iotops_user_property *users,
                      size_t count) {
  for (size_t i = 0; i < count; i++) {
    put_u8(w, PROPERTY_USER);
    put_text(w, users[i].name);
    put_text(w, users[i].value);
  }
}

static size_t varint_size(size_t value) {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

/* What put_body writes after the fixed header. */
typedef void put_body(writer *w, const void *what);

static bool write_packet(packet_buffer *buffer, uint8_t first, put_body *body,
                         const void *what) {
  writer count = {0}, w = {0};
  size_t size;

  body(&count, what);
  size = 1 + varint_size(count.size) + count.size;
  if (count.too_long || size > PACKET_SIZE_MAX ||
      !packet_buffer_reserve(buffer, size))
    return false;
  w.at = buffer->bytes + buffer->end;
  put_u8(&w, first);
  put_varint(&w, count.size);
  body(&w, what);
  buffer->end += size;
  return true;
}

/* ----------------------------------------------------------- CONNECT -- */

static void put_connect_properties(writer *w, const packet_connect *connect) {
  if (connect->has_session_expiry) {
    put_u8(w, PROPERTY_SESSION_EXPIRY);
    put_u32(w, connect->session_expiry_s);
  }
  if (connect->receive_max != 65535) {
    put_u8(w, PROPERTY_RECEIVE_MAX);
    put_u16(w, connect->receive_max);
  }
  if (connect->packet_size_max != 0) {
    put_u8(w, PROPERTY_PACKET_SIZE_MAX);
    put_u32(w, connect->packet_size_max);
  }
  put_users(w, connect->user_properties, connect->user_property_count);
  put_text_property(w, PROPERTY_AUTH_METHOD, connect->auth_method);
  put_text_property(w, PROPERTY_AUTH_DATA, connect->auth_data);
}

static void put_message_properties(writer *w, const iotops_message *message) {
  if (message->format_indicator >= 0) {
    put_u8(w, PROPERTY_FORMAT_INDICATOR);
    put_u8(w, (uint8_t)message->format_indicator);
  }
  if (message->has_expiry) {
    put_u8(w, PROPERTY_MESSAGE_EXPIRY);
    put_u32(w, message->expiry_s);
  }
  put_text_property(w, PROPERTY_CONTENT_TYPE, message->content_type);
  put_text_property(w, PROPERTY_RESPONSE_TOPIC, message->response_topic);
  put_text_property(w, PROPERTY_CORRELATION_DATA, message->correlation_data);
  put_users(w, message->user_properties, message->user_property_count);
}

static void put_will(writer *w, const packet_connect *connect) {
  if (connect->version == 5) {
    writer count = {0};

    if (connect->will_delay_s != 0)
      count.size = 5;
    put_message_properties(&count, connect->will);
    put_varint(w, count.size);
    if (connect->will_delay_s != 0) {
      put_u8(w, PROPERTY_WILL_DELAY);
      put_u32(w, connect->will_delay_s);
    }
    put_message_properties(w, connect->will);
  }
  put_text(w, connect->will->topic);
  put_text(w, connect->will->payload);
}

static void put_connect(writer *w, const void *what) {
  const packet_connect *connect = what;
  uint8_t flags = connect->clean_start ? 2 : 0;

  if (connect->will)
    flags |=
        (uint8_t)(4 | connect->will->qos << 3 | connect->will->retain << 5);
  if (connect->password.data)
    flags |= 64;
  if (connect->username.data)
    flags |= 128;
  put_text(w, iotops_text_of("MQTT"));
  put_u8(w, (uint8_t)connect->version);
  put_u8(w, flags);
  put_u16(w, connect->keep_alive_s);
  if (connect->version == 5) {
    writer count = {0};

    put_connect_properties(&count, connect);
    put_varint(w, count.size);
    put_connect_properties(w, connect);
  }
  put_text(w, connect->client_id);
  if (connect->will)
    put_will(w, connect);
  if (connect->username.data)
    put_text(w, connect->username);
  if (connect->password.data)
    put_text(w, connect->password);
}

bool packet_write_connect(packet_buffer *buffer,
                          const packet_connect *connect) {
  return write_packet(buffer, PACKET_CONNECT << 4, put_connect, connect);
}

/* ------------------------------------------------------------ others -- */

bool packet_write_puback(packet_buffer *buffer, uint16_t packet_id) {
  uint8_t bytes[4] = {PACKET_PUBACK << 4, 2, (uint8_t)(packet_id >> 8),
                      (uint8_t)packet_id};

  return packet_buffer_append(buffer, bytes, sizeof bytes);
}

bool packet_write_pingreq(packet_buffer *buffer) {
  static const uint8_t bytes[2] = {PACKET_PINGREQ << 4, 0};

  return packet_buffer_append(buffer, bytes, sizeof bytes);
}

typedef struct auth {
  uint8_t reason_code;
  iotops_text method, data;
} auth;

static void put_auth_properties(writer *w, const auth *auth) {
  put_text_property(w, PROPERTY_AUTH_METHOD, auth->method);
  put_text_property(w, PROPERTY_AUTH_DATA, auth->data);
}

static void put_auth(writer *w, const void *what) {
  const auth *auth = what;
  writer count = {0};

  put_auth_properties(&count, auth);
  put_u8(w, auth->reason_code);
  put_varint(w, count.size);
  put_auth_properties(w, auth);
}

bool packet_write_auth(packet_buffer *buffer, uint8_t reason_code,
                       iotops_text method, iotops_text data) {
  auth auth = {reason_code, method, data};

  return write_packet(buffer, PACKET_AUTH << 4, put_auth, &auth);
}

bool packet_write_disconnect(packet_buffer *buffer, int version,
                             uint8_t reason_code, int64_t session_expiry_s) {
  uint8_t bytes[9] = {PACKET_DISCONNECT << 4};
  size_t size = 2;

  if (version == 5 && session_expiry_s >= 0) {
    bytes[1] = 7;
    bytes[2] = reason_code;
    bytes[3] = 5;
    bytes[4] = PROPERTY_SESSION_EXPIRY;
    bytes[5] = (uint8_t)(session_expiry_s >> 24);
    bytes[6] = (uint8_t)(session_expiry_s >> 16);
    bytes[7] = (uint8_t)(session_expiry_s >> 8);
    bytes[8] = (uint8_t)session_expiry_s;
    size = 9;
  } else if (version == 5 && reason_code != 0) {
    bytes[1] = 1;
    bytes[2] = reason_code;
    size = 3;
  }
  return packet_buffer_append(buffer, bytes, size);
}

/* ------------------------------------------------------------- sizes -- */

size_t packet_publish_size(const iotops_message *message, int version) {
  size_t body =
      2 + message->topic.size + (message->qos ? 2 : 0) + message->payload.size;

  if (version == 5) {
    writer count = {0};

    put_message_properties(&count, message);
    body += varint_size(count.size) + count.size;
  }
  return 1 + varint_size(body) + body;
}

size_t packet_subscribe_size(size_t filter_size, uint32_t subscription_id,
                             int version) {
  size_t body = 2 + 2 + filter_size + 1;

  if (version == 5)
    body += 1 + (subscription_id ? 1 + varint_size(subscription_id) : 0);
  return 1 + varint_size(body) + body;
}
