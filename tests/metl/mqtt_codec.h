/*
** mqtt_codec.h -- MQTT v5 packets as a broker writes and reads them.
**
** Written apart from the product's own framing, so that one checks the other.
** A reader that meets malformed bytes sets `bad` and gives zeros from then
** on; nothing is read past the end.
*/
#ifndef METL_MQTT_CODEC_H
#define METL_MQTT_CODEC_H

#include "bytes.h"
#include "iotops/message.h"

enum { /* first nibble of a packet */
       MQTT_CONNECT = 1,
       MQTT_CONNACK = 2,
       MQTT_PUBLISH = 3,
       MQTT_PUBACK = 4,
       MQTT_SUBSCRIBE = 8,
       MQTT_SUBACK = 9,
       MQTT_UNSUBSCRIBE = 10,
       MQTT_UNSUBACK = 11,
       MQTT_PINGREQ = 12,
       MQTT_PINGRESP = 13,
       MQTT_DISCONNECT = 14
};

typedef struct mqtt_reader {
  const uint8_t *at, *end;
  bool bad;
} mqtt_reader;

uint8_t mqtt_read_byte(mqtt_reader *reader);
uint16_t mqtt_read_u16(mqtt_reader *reader);
uint32_t mqtt_read_u32(mqtt_reader *reader);
uint32_t mqtt_read_varint(mqtt_reader *reader);
iotops_text mqtt_read_text(mqtt_reader *reader); /* two bytes of length */
bool mqtt_more(const mqtt_reader *reader);

/* Splits off a section of `size` bytes. */
mqtt_reader mqtt_read_section(mqtt_reader *reader, size_t size);

/*
** The first whole packet of `bytes`: its size, header byte and content; 0
** when there is none yet.
*/
size_t mqtt_next_packet(const metl_bytes *bytes, uint8_t *header,
                        mqtt_reader *content);

/* The most user properties that a PUBLISH is read with. */
enum { MQTT_MAX_PROPERTIES = 64 };

/*
** Reads a PUBLISH; `message` points into the packet and into `properties`,
** which has MQTT_MAX_PROPERTIES places.  False when it is malformed.
*/
bool mqtt_read_publish(uint8_t header, mqtt_reader content,
                       iotops_user_property *properties,
                       iotops_message *message);

/* Append packets. */
void mqtt_write_connack(metl_bytes *to, bool session_present,
                        uint16_t receive_max);
void mqtt_write_publish(metl_bytes *to, const iotops_message *message);
/* PUBACK, SUBACK or UNSUBACK with one reason code. */
void mqtt_write_answer(metl_bytes *to, uint8_t type, uint16_t packet_id,
                       uint8_t reason_code);
void mqtt_write_pingresp(metl_bytes *to);

#endif
