/*
** packet.h -- MQTT packets as they arrive: framing, properties, decoders.
**
** Nothing here allocates for what a packet claims: a packet is framed only
** when all of its bytes are there, its size is held against a limit as soon as
** the fixed header can be read, and every decoded text is a view into the
** bytes that were framed.  The only storage is a packet_scratch, which the
** caller keeps and which grows with what has arrived.  Both MQTT 5 and MQTT
** 3.1.1 are understood; a version is 5 or 4.
**
** Functions that judge a packet return 0, or the MQTT v5 reason code that a
** DISCONNECT should carry: 0x81 malformed, 0x82 protocol error, 0x95 too
** large, or PACKET_NO_MEMORY.
*/
#ifndef IOTOPS_SESSION_PACKET_H
#define IOTOPS_SESSION_PACKET_H

#include "iotops/message.h"

typedef enum packet_type {
  PACKET_CONNECT = 1,
  PACKET_CONNACK,
  PACKET_PUBLISH,
  PACKET_PUBACK,
  PACKET_PUBREC,
  PACKET_PUBREL,
  PACKET_PUBCOMP,
  PACKET_SUBSCRIBE,
  PACKET_SUBACK,
  PACKET_UNSUBSCRIBE,
  PACKET_UNSUBACK,
  PACKET_PINGREQ,
  PACKET_PINGRESP,
  PACKET_DISCONNECT,
  PACKET_AUTH
} packet_type;

enum {
  PACKET_MALFORMED = 0x81,
  PACKET_PROTOCOL_ERROR = 0x82,
  PACKET_TOO_LARGE = 0x95,
  PACKET_NO_MEMORY = 0x100, /* not a wire value */
  PACKET_SIZE_MAX = 268435455 + 5,
  PACKET_TEXT_MAX = 65535,
  PACKET_DUP = 8 /* flag of PUBLISH */
};

/* One whole packet. */
typedef struct packet {
  packet_type type;
  uint8_t flags;        /* low four bits of the first byte */
  const uint8_t *bytes; /* borrowed; the whole packet */
  size_t size;
  const uint8_t *body; /* borrowed; what follows the fixed header */
  size_t body_size;
} packet;

/*
** Frames the packet that `bytes` begin with.  Returns 0 and sets `packet`;
** with packet->size 0 when more bytes are needed, `*need` in total as far as
** is known yet.  `limit` is the largest whole packet accepted.
*/
int packet_frame(const uint8_t *bytes, size_t size, size_t limit,
                 packet *packet, size_t *need);

/* True for well-formed UTF-8 without U+0000 (MQTT v5 section 1.5.4). */
bool packet_utf8_valid(iotops_text text);

/* -------------------------------------------------------- properties -- */

enum { /* MQTT v5 section 2.2.2.2 */
       PROPERTY_FORMAT_INDICATOR = 0x01,
       PROPERTY_MESSAGE_EXPIRY = 0x02,
       PROPERTY_CONTENT_TYPE = 0x03,
       PROPERTY_RESPONSE_TOPIC = 0x08,
       PROPERTY_CORRELATION_DATA = 0x09,
       PROPERTY_SUBSCRIPTION_ID = 0x0b,
       PROPERTY_SESSION_EXPIRY = 0x11,
       PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
       PROPERTY_SERVER_KEEP_ALIVE = 0x13,
       PROPERTY_AUTH_METHOD = 0x15,
       PROPERTY_AUTH_DATA = 0x16,
       PROPERTY_REQUEST_PROBLEM = 0x17,
       PROPERTY_WILL_DELAY = 0x18,
       PROPERTY_REQUEST_RESPONSE = 0x19,
       PROPERTY_RESPONSE_INFORMATION = 0x1a,
       PROPERTY_SERVER_REFERENCE = 0x1c,
       PROPERTY_REASON_STRING = 0x1f,
       PROPERTY_RECEIVE_MAX = 0x21,
       PROPERTY_TOPIC_ALIAS_MAX = 0x22,
       PROPERTY_TOPIC_ALIAS = 0x23,
       PROPERTY_MAXIMUM_QOS = 0x24,
       PROPERTY_RETAIN_AVAILABLE = 0x25,
       PROPERTY_USER = 0x26,
       PROPERTY_PACKET_SIZE_MAX = 0x27,
       PROPERTY_WILDCARD_AVAILABLE = 0x28,
       PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
       PROPERTY_SHARED_AVAILABLE = 0x2a
};

/* One property; which fields hold depends on the type of `id`. */
typedef struct property {
  uint8_t id;
  uint32_t number;   /* integers */
  iotops_text text;  /* borrowed; strings, binary data, the name of a pair */
  iotops_text value; /* borrowed; the value of a pair */
} property;

/*
** Walks a property section, checking each identifier against the packet it
** is in, its type, duplicates, UTF-8 and range.
*/
typedef struct property_reader {
  const uint8_t *at, *end; /* borrowed */
  packet_type in;
  uint64_t seen; /* identifiers met, as bits */
} property_reader;

/*
** Begins at `*at` with the section's length and moves `*at` behind the
** section.  Returns 0 or a reason code.
*/
int property_open(property_reader *reader, packet_type in, const uint8_t **at,
                  const uint8_t *end);

/* 0 with the next property, -1 at the end, or a reason code. */
int property_next(property_reader *reader, property *property);

/* ---------------------------------------------------------- decoders -- */

/* Arrays that decoded packets point into; zero it, and free it at the end. */
typedef struct packet_scratch {
  iotops_context *context;     /* borrowed */
  iotops_user_property *users; /* owned */
  size_t user_capacity;
  uint32_t *ids; /* owned */
  size_t id_capacity;
} packet_scratch;

void packet_scratch_free(packet_scratch *scratch);

/*
** What a packet from the server may say besides an application message.
** Texts are views into the packet, `user_properties` into the scratch: the
** next packet overwrites them.
*/
typedef struct packet_reply {
  uint16_t packet_id;   /* PUBACK, SUBACK, UNSUBACK */
  const uint8_t *codes; /* SUBACK, UNSUBACK: one reason code a filter */
  size_t code_count;
  uint8_t reason_code;  /* the others */
  bool session_present; /* CONNACK */
  uint64_t present;     /* properties that were there, as bits */
  iotops_text reason_string, server_reference, assigned_client_id;
  iotops_text auth_method, auth_data;
  uint32_t session_expiry_s, packet_size_max;
  uint16_t server_keep_alive_s, receive_max;
  uint8_t maximum_qos;
  bool retain_available, wildcard_available, shared_available;
  bool subscription_id_available;
  const iotops_user_property *user_properties;
  size_t user_property_count;
} packet_reply;

/* True when the property `id` was in the packet. */
static inline bool packet_has(const packet_reply *reply, int id) {
  return (reply->present >> id) & 1;
}

/*
** Decodes CONNACK, PUBACK, SUBACK, UNSUBACK, DISCONNECT or AUTH.  What is
** absent has its default: reason code 0, receive_max 65535, maximum_qos 2,
** everything available.  Any other packet is a protocol error.
*/
int packet_decode_reply(const packet *packet, int version,
                        packet_scratch *scratch, packet_reply *reply);

/*
** Decodes a PUBLISH into a view of it.  QoS 2 is decoded like QoS 1, for the
** caller to refuse; a topic alias is a protocol error since none is offered.
*/
int packet_decode_publish(const packet *packet, int version,
                          packet_scratch *scratch, iotops_message *message);

#endif
