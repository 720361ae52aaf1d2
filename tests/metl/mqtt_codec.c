/* mqtt_codec.c -- see mqtt_codec.h. */
#include "mqtt_codec.h"

#include <string.h>

enum { /* property identifiers, MQTT v5 section 2.2.2.2 */
       PAYLOAD_FORMAT = 0x01,
       MESSAGE_EXPIRY = 0x02,
       CONTENT_TYPE = 0x03,
       RESPONSE_TOPIC = 0x08,
       CORRELATION_DATA = 0x09,
       RECEIVE_MAXIMUM = 0x21,
       USER_PROPERTY = 0x26
};

/* ------------------------------------------------------------ reading -- */

mqtt_reader mqtt_read_section(mqtt_reader *reader, size_t size) {
  if ((size_t)(reader->end - reader->at) < size) {
    reader->bad = true;
    reader->at = reader->end;
    return (mqtt_reader){reader->at, reader->at, true};
  }
  mqtt_reader section = {reader->at, reader->at + size, false};
  reader->at += size;
  return section;
}

uint8_t mqtt_read_byte(mqtt_reader *reader) {
  mqtt_reader one = mqtt_read_section(reader, 1);
  return one.bad ? 0 : one.at[0];
}

uint16_t mqtt_read_u16(mqtt_reader *reader) {
  uint16_t high = mqtt_read_byte(reader);
  return (uint16_t)(high << 8 | mqtt_read_byte(reader));
}

uint32_t mqtt_read_u32(mqtt_reader *reader) {
  uint32_t high = mqtt_read_u16(reader);
  return high << 16 | mqtt_read_u16(reader);
}

uint32_t mqtt_read_varint(mqtt_reader *reader) {
  uint32_t value = 0;
  for (int shift = 0; shift < 28; shift += 7) {
    uint8_t byte = mqtt_read_byte(reader);
    value |= (uint32_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      return value;
    }
  }
  reader->bad = true;
  return 0;
}

iotops_text mqtt_read_text(mqtt_reader *reader) {
  mqtt_reader text = mqtt_read_section(reader, mqtt_read_u16(reader));
  return (iotops_text){(const char *)text.at, (size_t)(text.end - text.at)};
}

bool mqtt_more(const mqtt_reader *reader) {
  return !reader->bad && reader->at < reader->end;
}

size_t mqtt_next_packet(const metl_bytes *bytes, uint8_t *header,
                        mqtt_reader *content) {
  mqtt_reader reader = {bytes->data, bytes->data + bytes->size, false};
  if (bytes->size < 2) {
    return 0;
  }
  *header = mqtt_read_byte(&reader);
  uint32_t size = mqtt_read_varint(&reader);
  *content = mqtt_read_section(&reader, size);
  return reader.bad ? 0 : (size_t)(reader.at - bytes->data);
}

bool mqtt_read_publish(uint8_t header, mqtt_reader content,
                       iotops_user_property *pairs, iotops_message *message) {
  *message = (iotops_message)IOTOPS_MESSAGE_INIT;
  message->qos = header >> 1 & 3;
  message->retain = header & 1;
  message->dup = header >> 3 & 1;
  message->topic = mqtt_read_text(&content);
  if (message->qos > 0) {
    message->packet_id = mqtt_read_u16(&content);
  }
  mqtt_reader reader = mqtt_read_section(&content, mqtt_read_varint(&content));
  message->user_properties = pairs;
  while (mqtt_more(&reader)) {
    switch (mqtt_read_byte(&reader)) {
    case PAYLOAD_FORMAT:
      message->format_indicator = mqtt_read_byte(&reader);
      break;
    case MESSAGE_EXPIRY:
      message->has_expiry = true;
      message->expiry_s = mqtt_read_u32(&reader);
      break;
    case CONTENT_TYPE:
      message->content_type = mqtt_read_text(&reader);
      break;
    case RESPONSE_TOPIC:
      message->response_topic = mqtt_read_text(&reader);
      break;
    case CORRELATION_DATA:
      message->correlation_data = mqtt_read_text(&reader);
      break;
    case USER_PROPERTY:
      if (message->user_property_count == MQTT_MAX_PROPERTIES) {
        return false;
      }
      pairs[message->user_property_count].name = mqtt_read_text(&reader);
      pairs[message->user_property_count++].value = mqtt_read_text(&reader);
      break;
    default: /* no other belongs into a client's PUBLISH here */
      return false;
    }
  }
  message->payload = (iotops_text){(const char *)content.at,
                                   (size_t)(content.end - content.at)};
  return !content.bad && !reader.bad && message->qos <= 1 &&
         message->topic.size > 0 &&
         (message->qos == 0 || message->packet_id != 0);
}

/* ------------------------------------------------------------ writing -- */

static void put_byte(metl_bytes *to, uint8_t byte) {
  metl_bytes_add(to, &byte, 1);
}

static void put_u16(metl_bytes *to, uint16_t value) {
  put_byte(to, (uint8_t)(value >> 8));
  put_byte(to, (uint8_t)value);
}

static void put_varint(metl_bytes *to, size_t value) {
  do {
    uint8_t byte = value & 0x7f;
    value >>= 7;
    put_byte(to, value ? byte | 0x80 : byte);
  } while (value);
}

static void put_text(metl_bytes *to, iotops_text text) {
  put_u16(to, (uint16_t)text.size);
  metl_bytes_add(to, text.data, text.size);
}

static void put_optional(metl_bytes *to, uint8_t id, iotops_text text) {
  if (text.data) {
    put_byte(to, id);
    put_text(to, text);
  }
}

/* A packet of `header` around `content`, which is freed. */
static void put_packet(metl_bytes *to, uint8_t header, metl_bytes *content) {
  put_byte(to, header);
  put_varint(to, content->size);
  metl_bytes_add(to, content->data, content->size);
  metl_bytes_free(content);
}

void mqtt_write_connack(metl_bytes *to, bool session_present,
                        uint16_t receive_max) {
  metl_bytes content = {0};
  put_byte(&content, session_present);
  put_byte(&content, 0);
  put_varint(&content, 3);
  put_byte(&content, RECEIVE_MAXIMUM);
  put_u16(&content, receive_max);
  put_packet(to, MQTT_CONNACK << 4, &content);
}

void mqtt_write_publish(metl_bytes *to, const iotops_message *message) {
  metl_bytes properties = {0};
  metl_bytes content = {0};
  if (message->format_indicator >= 0) {
    put_byte(&properties, PAYLOAD_FORMAT);
    put_byte(&properties, (uint8_t)message->format_indicator);
  }
  if (message->has_expiry) {
    put_byte(&properties, MESSAGE_EXPIRY);
    put_u16(&properties, (uint16_t)(message->expiry_s >> 16));
    put_u16(&properties, (uint16_t)message->expiry_s);
  }
  put_optional(&properties, CONTENT_TYPE, message->content_type);
  put_optional(&properties, RESPONSE_TOPIC, message->response_topic);
  put_optional(&properties, CORRELATION_DATA, message->correlation_data);
  for (size_t i = 0; i < message->user_property_count; i++) {
    put_byte(&properties, USER_PROPERTY);
    put_text(&properties, message->user_properties[i].name);
    put_text(&properties, message->user_properties[i].value);
  }
  put_text(&content, message->topic);
  if (message->qos > 0) {
    put_u16(&content, message->packet_id);
  }
  put_varint(&content, properties.size);
  metl_bytes_add(&content, properties.data, properties.size);
  metl_bytes_free(&properties);
  metl_bytes_add(&content, message->payload.data, message->payload.size);
  put_packet(to,
             (uint8_t)(MQTT_PUBLISH << 4 | (message->dup ? 8 : 0) |
                       message->qos << 1 | (message->retain ? 1 : 0)),
             &content);
}

void mqtt_write_answer(metl_bytes *to, uint8_t type, uint16_t packet_id,
                       uint8_t reason_code) {
  metl_bytes content = {0};
  put_u16(&content, packet_id);
  if (type == MQTT_PUBACK) {
    put_byte(&content, reason_code);
    put_varint(&content, 0);
  } else {
    put_varint(&content, 0);
    put_byte(&content, reason_code);
  }
  put_packet(to, (uint8_t)(type << 4), &content);
}

void mqtt_write_pingresp(metl_bytes *to) {
  metl_bytes content = {0};
  put_packet(to, MQTT_PINGRESP << 4, &content);
}
