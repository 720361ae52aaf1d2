/* packet.c -- framing, property sections and decoders. */
#include "session/packet.h"

#include <string.h>

/* ----------------------------------------------------------- framing -- */

/* Flags that the fixed header of each type must have; 0x10: any (PUBLISH). */
static const uint8_t required_flags[16] = {0, 0, 0, 0x10, 0, 0, 2, 0,
                                           2, 0, 2, 0,    0, 0, 0, 0};

int packet_frame(const uint8_t *bytes, size_t size, size_t limit,
                 packet *packet, size_t *need) {
  size_t length = 0, at = 1;
  int shift = 0;
  uint8_t byte;

  packet->size = 0;
  *need = 2;
  if (size < 1)
    return 0;
  packet->type = (packet_type)(bytes[0] >> 4);
  packet->flags = bytes[0] & 15;
  if (packet->type == 0)
    return PACKET_MALFORMED;
  if (required_flags[packet->type] != 0x10 &&
      packet->flags != required_flags[packet->type])
    return PACKET_MALFORMED;
  do {
    if (at == 5)
      return PACKET_MALFORMED;
    if (at == size) {
      *need = at + 1;
      return 0;
    }
    byte = bytes[at++];
    length |= (size_t)(byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  if (at > 2 && byte == 0)
    return PACKET_MALFORMED; /* not the shortest form */
  if (at + length > limit)
    return PACKET_TOO_LARGE;
  *need = at + length;
  if (size < *need)
    return 0;
  packet->bytes = bytes;
  packet->size = at + length;
  packet->body = bytes + at;
  packet->body_size = length;
  return 0;
}

bool packet_utf8_valid(iotops_text text) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.size;

  while (at < end) {
    uint8_t lead = *at;
    uint32_t point;
    int more;

    if (end - at >= 8) { /* eight ASCII bytes at a time, none of them NUL */
      uint64_t word;

      memcpy(&word, at, 8);
      if (!(word & 0x8080808080808080u) &&
          !((word - 0x0101010101010101u) & 0x8080808080808080u)) {
        at += 8;
        continue;
      }
    }
    at++;
    if (lead < 0x80) {
      if (lead == 0)
        return false;
      continue;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
      more = 1;
      point = lead & 0x1f;
    } else if ((lead & 0xf0) == 0xe0) {
      more = 2;
      point = lead & 0x0f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      point = lead & 0x07;
    } else {
      return false;
    }
    if (end - at < more)
      return false;
    for (int i = 0; i < more; i++, at++) {
      if ((*at & 0xc0) != 0x80)
        return false;
      point = point << 6 | (*at & 0x3f);
    }
    if (more == 2 && (point < 0x800 || (point >= 0xd800 && point <= 0xdfff)))
      return false;
    if (more == 3 && (point < 0x10000 || point > 0x10ffff))
      return false;
  }
  return true;
}

/* ----------------------------------------------------------- reading -- */

static int read_u16(const uint8_t **at, const uint8_t *end, uint16_t *value) {
  if (end - *at < 2)
    return PACKET_MALFORMED;
  *value = (uint16_t)((*at)[0] << 8 | (*at)[1]);
  *at += 2;
  return 0;
}

static int read_varint(const uint8_t **at, const uint8_t *end,
                       uint32_t *value) {
  uint8_t byte = 0;

  *value = 0;
  for (int i = 0; i < 4; i++) {
    if (*at == end)
      return PACKET_MALFORMED;
    byte = *(*at)++;
    *value |= (uint32_t)(byte & 127) << (7 * i);
    if (!(byte & 128))
      return i > 0 && byte == 0 ? PACKET_MALFORMED : 0;
  }
  return PACKET_MALFORMED;
}

static int read_binary(const uint8_t **at, const uint8_t *end,
                       iotops_text *text) {
  uint16_t size;

  if (read_u16(at, end, &size) || end - *at < size)
    return PACKET_MALFORMED;
  text->data = (const char *)*at;
  text->size = size;
  *at += size;
  return 0;
}

static int read_string(const uint8_t **at, const uint8_t *end,
                       iotops_text *text) {
  if (read_binary(at, end, text) || !packet_utf8_valid(*text))
    return PACKET_MALFORMED;
  return 0;
}

/* -------------------------------------------------------- properties -- */

enum value_type {
  NOT_A_PROPERTY,
  BYTE,
  SHORT,
  LONG,
  VARINT,
  BINARY,
  STRING,
  PAIR
};

#define IN(type) (1u << PACKET_##type)
#define ANY_REPLY                                                              \
  (IN(CONNACK) | IN(PUBACK) | IN(SUBACK) | IN(UNSUBACK) | IN(DISCONNECT) |     \
   IN(AUTH))

/* What the server may send where (MQTT v5 section 2.2.2.2). */
static const struct property_rule {
  uint8_t type;
  bool boolean;  /* 0 or 1 only */
  bool not_zero; /* 0 is a protocol error */
  uint16_t in;   /* packets that may have it, as bits */
} rules[] = {
    [PROPERTY_FORMAT_INDICATOR] = {BYTE, true, false, IN(PUBLISH)},
    [PROPERTY_MESSAGE_EXPIRY] = {LONG, false, false, IN(PUBLISH)},
    [PROPERTY_CONTENT_TYPE] = {STRING, false, false, IN(PUBLISH)},
    [PROPERTY_RESPONSE_TOPIC] = {STRING, false, false, IN(PUBLISH)},
    [PROPERTY_CORRELATION_DATA] = {BINARY, false, false, IN(PUBLISH)},
    [PROPERTY_SUBSCRIPTION_ID] = {VARINT, false, true, IN(PUBLISH)},
    [PROPERTY_SESSION_EXPIRY] = {LONG, false, false, IN(CONNACK)},
    [PROPERTY_ASSIGNED_CLIENT_ID] = {STRING, false, false, IN(CONNACK)},
    [PROPERTY_SERVER_KEEP_ALIVE] = {SHORT, false, false, IN(CONNACK)},
    [PROPERTY_AUTH_METHOD] = {STRING, false, false, IN(CONNACK) | IN(AUTH)},
    [PROPERTY_AUTH_DATA] = {BINARY, false, false, IN(CONNACK) | IN(AUTH)},
    [PROPERTY_RESPONSE_INFORMATION] = {STRING, false, false, IN(CONNACK)},
    [PROPERTY_SERVER_REFERENCE] = {STRING, false, false,
                                   IN(CONNACK) | IN(DISCONNECT)},
    [PROPERTY_REASON_STRING] = {STRING, false, false, ANY_REPLY},
    [PROPERTY_RECEIVE_MAX] = {SHORT, false, true, IN(CONNACK)},
    [PROPERTY_TOPIC_ALIAS_MAX] = {SHORT, false, false, IN(CONNACK)},
    [PROPERTY_TOPIC_ALIAS] = {SHORT, false, true, IN(PUBLISH)},
    [PROPERTY_MAXIMUM_QOS] = {BYTE, true, false, IN(CONNACK)},
    [PROPERTY_RETAIN_AVAILABLE] = {BYTE, true, false, IN(CONNACK)},
    [PROPERTY_USER] = {PAIR, false, false, ANY_REPLY | IN(PUBLISH)},
    [PROPERTY_PACKET_SIZE_MAX] = {LONG, false, true, IN(CONNACK)},
    [PROPERTY_WILDCARD_AVAILABLE] = {BYTE, true, false, IN(CONNACK)},
    [PROPERTY_SUBSCRIPTION_ID_AVAILABLE] = {BYTE, true, false, IN(CONNACK)},
    [PROPERTY_SHARED_AVAILABLE] = {BYTE, true, false, IN(CONNACK)},
};

int property_open(property_reader *reader, packet_type in, const uint8_t **at,
                  const uint8_t *end) {
  uint32_t size;

  if (read_varint(at, end, &size) || (size_t)(end - *at) < size)
    return PACKET_MALFORMED;
  reader->at = *at;
  reader->end = *at += size;
  reader->in = in;
  reader->seen = 0;
  return 0;
}

static int read_value(property_reader *reader, enum value_type type,
                      property *property) {
  const uint8_t *end = reader->end;
  uint16_t high, low;
  int rc;

  switch (type) {
  case BYTE:
    if (reader->at == end)
      return PACKET_MALFORMED;
    property->number = *reader->at++;
    return 0;
  case SHORT:
    rc = read_u16(&reader->at, end, &low);
    property->number = rc ? 0 : low;
    return rc;
  case LONG:
    if (read_u16(&reader->at, end, &high) || read_u16(&reader->at, end, &low))
      return PACKET_MALFORMED;
    property->number = (uint32_t)high << 16 | low;
    return 0;
  case VARINT:
    return read_varint(&reader->at, end, &property->number);
  case BINARY:
    return read_binary(&reader->at, end, &property->text);
  case STRING:
    return read_string(&reader->at, end, &property->text);
  case PAIR:
    rc = read_string(&reader->at, end, &property->text);
    return rc ? rc : read_string(&reader->at, end, &property->value);
  case NOT_A_PROPERTY:
    break;
  }
  return PACKET_MALFORMED;
}

int property_next(property_reader *reader, property *property) {
  const struct property_rule *rule;
  uint32_t id;
  int rc;

  if (reader->at == reader->end)
    return -1;
  if (read_varint(&reader->at, reader->end, &id) ||
      id >= sizeof rules / sizeof *rules)
    return PACKET_MALFORMED;
  rule = &rules[id];
  if (rule->type == NOT_A_PROPERTY || !(rule->in >> reader->in & 1))
    return PACKET_MALFORMED;
  if (reader->seen >> id & 1 && id != PROPERTY_USER &&
      id != PROPERTY_SUBSCRIPTION_ID)
    return PACKET_PROTOCOL_ERROR;
  reader->seen |= (uint64_t)1 << id;
  *property = (struct property){.id = (uint8_t)id};
  rc = read_value(reader, (enum value_type)rule->type, property);
  if (rc)
    return rc;
  if ((rule->boolean && property->number > 1) ||
      (rule->not_zero && property->number == 0))
    return PACKET_PROTOCOL_ERROR;
  return 0;
}

/* ----------------------------------------------------------- scratch -- */

void packet_scratch_free(packet_scratch *scratch) {
  iotops_free(scratch->context, scratch->users);
  iotops_free(scratch->context, scratch->ids);
  scratch->users = NULL;
  scratch->ids = NULL;
  scratch->user_capacity = scratch->id_capacity = 0;
}

static int add_user(packet_scratch *scratch, size_t *count,
                    const property *property) {
  if (*count == scratch->user_capacity) {
    size_t capacity = *count ? *count * 2 : 16;
    void *grown = iotops_resize(scratch->context, scratch->users,
                                capacity * sizeof *scratch->users);

    if (!grown)
      return PACKET_NO_MEMORY;
    scratch->users = grown;
    scratch->user_capacity = capacity;
  }
  scratch->users[*count].name = property->text;
  scratch->users[*count].value = property->value;
  ++*count;
  return 0;
}

static int add_id(packet_scratch *scratch, size_t *count, uint32_t id) {
  if (*count == scratch->id_capacity) {
    size_t capacity = *count ? *count * 2 : 8;
    void *grown = iotops_resize(scratch->context, scratch->ids,
                                capacity * sizeof *scratch->ids);

    if (!grown)
      return PACKET_NO_MEMORY;
    scratch->ids = grown;
    scratch->id_capacity = capacity;
  }
  scratch->ids[(*count)++] = id;
  return 0;
}

/* ---------------------------------------------------------- decoders -- */

static void take_reply_property(packet_reply *reply, const property *property) {
  switch (property->id) {
  case PROPERTY_SESSION_EXPIRY:
    reply->session_expiry_s = property->number;
    break;
  case PROPERTY_ASSIGNED_CLIENT_ID:
    reply->assigned_client_id = property->text;
    break;
  case PROPERTY_SERVER_KEEP_ALIVE:
    reply->server_keep_alive_s = (uint16_t)property->number;
    break;
  case PROPERTY_AUTH_METHOD:
    reply->auth_method = property->text;
    break;
  case PROPERTY_AUTH_DATA:
    reply->auth_data = property->text;
    break;
  case PROPERTY_SERVER_REFERENCE:
    reply->server_reference = property->text;
    break;
  case PROPERTY_REASON_STRING:
    reply->reason_string = property->text;
    break;
  case PROPERTY_RECEIVE_MAX:
    reply->receive_max = (uint16_t)property->number;
    break;
  case PROPERTY_MAXIMUM_QOS:
    reply->maximum_qos = (uint8_t)property->number;
    break;
  case PROPERTY_RETAIN_AVAILABLE:
    reply->retain_available = property->number;
    break;
  case PROPERTY_PACKET_SIZE_MAX:
    reply->packet_size_max = property->number;
    break;
  case PROPERTY_WILDCARD_AVAILABLE:
    reply->wildcard_available = property->number;
    break;
  case PROPERTY_SUBSCRIPTION_ID_AVAILABLE:
    reply->subscription_id_available = property->number;
    break;
  case PROPERTY_SHARED_AVAILABLE:
    reply->shared_available = property->number;
    break;
  default:
    break;
  }
}

static int read_reply_properties(packet_type type, const uint8_t **at,
                                 const uint8_t *end, packet_scratch *scratch,
                                 packet_reply *reply) {
  property_reader reader;
  property property;
  size_t users = 0;
  int rc = property_open(&reader, type, at, end);

  if (rc)
    return rc;
  while ((rc = property_next(&reader, &property)) == 0) {
    if (property.id == PROPERTY_USER)
      rc = add_user(scratch, &users, &property);
    else
      take_reply_property(reply, &property);
    if (rc)
      return rc;
  }
  if (rc > 0)
    return rc;
  reply->present = reader.seen;
  reply->user_properties = users ? scratch->users : NULL;
  reply->user_property_count = users;
  return 0;
}

static int decode_connack(const packet *packet, int version,
                          packet_scratch *scratch, packet_reply *reply) {
  const uint8_t *at = packet->body, *end = at + packet->body_size;

  if (end - at < 2 || at[0] > 1)
    return PACKET_MALFORMED;
  reply->session_present = at[0];
  reply->reason_code = at[1];
  at += 2;
  if (reply->reason_code != 0 && reply->session_present)
    return PACKET_PROTOCOL_ERROR;
  if (version == 5) {
    int rc = read_reply_properties(packet->type, &at, end, scratch, reply);

    if (rc)
      return rc;
  }
  return at == end ? 0 : PACKET_MALFORMED;
}

/* SUBACK and UNSUBACK: the codes are what is left. */
static int decode_codes(const packet *packet, int version,
                        packet_scratch *scratch, packet_reply *reply) {
  const uint8_t *at = packet->body, *end = at + packet->body_size;
  int rc = read_u16(&at, end, &reply->packet_id);

  if (rc)
    return rc;
  if (reply->packet_id == 0)
    return PACKET_PROTOCOL_ERROR;
  if (version == 5) {
    rc = read_reply_properties(packet->type, &at, end, scratch, reply);
    if (rc)
      return rc;
  }
  reply->codes = at;
  reply->code_count = (size_t)(end - at);
  if (version != 5 && packet->type == PACKET_UNSUBACK)
    return reply->code_count == 0 ? 0 : PACKET_MALFORMED;
  return reply->code_count > 0 ? 0 : PACKET_PROTOCOL_ERROR;
}

/*
** PUBACK, DISCONNECT and AUTH: a reason code and properties, both of which
** may be left out when they would say nothing.
*/
static int decode_short(const packet *packet, int version,
                        packet_scratch *scratch, packet_reply *reply) {
  const uint8_t *at = packet->body, *end = at + packet->body_size;

  if (version != 5 && packet->type != PACKET_PUBACK)
    return PACKET_PROTOCOL_ERROR;
  if (packet->type == PACKET_PUBACK) {
    int rc = read_u16(&at, end, &reply->packet_id);

    if (rc)
      return rc;
    if (reply->packet_id == 0)
      return PACKET_PROTOCOL_ERROR;
  }
  if (at == end)
    return 0;
  if (version != 5)
    return PACKET_MALFORMED;
  reply->reason_code = *at++;
  if (at < end) {
    int rc = read_reply_properties(packet->type, &at, end, scratch, reply);

    if (rc)
      return rc;
  }
  return at == end ? 0 : PACKET_MALFORMED;
}

int packet_decode_reply(const packet *packet, int version,
                        packet_scratch *scratch, packet_reply *reply) {
  memset(reply, 0, sizeof *reply);
  reply->receive_max = 65535;
  reply->maximum_qos = 2;
  reply->retain_available = true;
  reply->wildcard_available = true;
  reply->shared_available = true;
  reply->subscription_id_available = version == 5;
  switch (packet->type) {
  case PACKET_CONNACK:
    return decode_connack(packet, version, scratch, reply);
  case PACKET_SUBACK:
  case PACKET_UNSUBACK:
    return decode_codes(packet, version, scratch, reply);
  case PACKET_PUBACK:
  case PACKET_DISCONNECT:
  case PACKET_AUTH:
    return decode_short(packet, version, scratch, reply);
  default:
    return PACKET_PROTOCOL_ERROR;
  }
}

static int take_message_property(packet_scratch *scratch,
                                 iotops_message *message,
                                 const property *property) {
  switch (property->id) {
  case PROPERTY_FORMAT_INDICATOR:
    message->format_indicator = (int)property->number;
    return 0;
  case PROPERTY_MESSAGE_EXPIRY:
    message->has_expiry = true;
    message->expiry_s = property->number;
    return 0;
  case PROPERTY_CONTENT_TYPE:
    message->content_type = property->text;
    return 0;
  case PROPERTY_RESPONSE_TOPIC:
    message->response_topic = property->text;
    return 0;
  case PROPERTY_CORRELATION_DATA:
    message->correlation_data = property->text;
    return 0;
  case PROPERTY_SUBSCRIPTION_ID:
    return add_id(scratch, &message->subscription_id_count, property->number);
  case PROPERTY_USER:
    return add_user(scratch, &message->user_property_count, property);
  default:
    return PACKET_PROTOCOL_ERROR; /* topic alias */
  }
}

int packet_decode_publish(const packet *packet, int version,
                          packet_scratch *scratch, iotops_message *message) {
  const uint8_t *at = packet->body, *end = at + packet->body_size;
  int rc;

  memset(message, 0, sizeof *message);
  message->format_indicator = -1;
  message->qos = packet->flags >> 1 & 3;
  message->retain = packet->flags & 1;
  message->dup = packet->flags >> 3;
  if (message->qos == 3 || (message->qos == 0 && message->dup))
    return PACKET_MALFORMED;
  rc = read_string(&at, end, &message->topic);
  if (rc)
    return rc;
  if (message->topic.size == 0)
    return PACKET_PROTOCOL_ERROR;
  if (memchr(message->topic.data, '+', message->topic.size) ||
      memchr(message->topic.data, '#', message->topic.size))
    return PACKET_MALFORMED;
  if (message->qos > 0) {
    rc = read_u16(&at, end, &message->packet_id);
    if (rc)
      return rc;
    if (message->packet_id == 0)
      return PACKET_PROTOCOL_ERROR;
  }
  if (version == 5) {
    property_reader reader;
    property property;

    rc = property_open(&reader, packet->type, &at, end);
    if (rc)
      return rc;
    while ((rc = property_next(&reader, &property)) == 0) {
      rc = take_message_property(scratch, message, &property);
      if (rc)
        return rc;
    }
    if (rc > 0)
      return rc;
    message->user_properties =
        message->user_property_count ? scratch->users : NULL;
    message->subscription_ids =
        message->subscription_id_count ? scratch->ids : NULL;
  }
  message->payload.data = (const char *)at;
  message->payload.size = (size_t)(end - at);
  return 0;
}
