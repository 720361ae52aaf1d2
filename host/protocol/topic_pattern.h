/*
** topic_pattern.h -- a topic pattern of one envoy, ready for use: namespace
** and constructor tokens put in, checked, taken apart (protocol.md sections
** 2.2 to 2.4).
**
** Tokens are numbered: first the constructor tokens that occur in the pattern,
** then the open ones, each once, in order of their first occurrence.  Matching
** a topic fills an array of `token_count` tokens that the caller provides and
** allocates nothing.
*/
#ifndef PROTOCOL_TOPIC_PATTERN_H
#define PROTOCOL_TOPIC_PATTERN_H

#include "iotops/topic.h"
#include "protocol/text_buffer.h"

typedef struct topic_level {
  iotops_text text; /* borrowed from `text` of the pattern */
  bool is_token;    /* an open token; `text` is its name */
  uint32_t token;   /* its number */
} topic_level;

typedef struct topic_pattern {
  iotops_context *context; /* borrowed */
  const char *property;    /* borrowed: names the pattern in errors */
  char *text;              /* owned: resolved, then names and values */
  size_t text_size;        /* of the resolved pattern */
  topic_level *levels;     /* owned */
  size_t level_count;
  iotops_token *tokens; /* owned; open ones have no value */
  size_t token_count, fixed_count;
} topic_pattern;

/*
** Checks that `topic_namespace` is absent or valid; else invalid
** configuration, `topic_namespace`.
*/
int topic_namespace_check(iotops_text topic_namespace, iotops_error *err);

/* The same for a share group, `service_group_id`. */
int share_group_check(iotops_text group, iotops_error *err);

/*
** Makes `pattern`, which must be zeroed or cleared, from its text; `property`
** must outlive it.  Fails with invalid configuration, in this order:
** topic_namespace, `property` (with `text` as value), a token's name.
*/
int topic_pattern_init(topic_pattern *pattern, iotops_context *context,
                       const char *property, iotops_text text,
                       iotops_text topic_namespace, const iotops_token *tokens,
                       size_t token_count, iotops_error *err);

/* Frees what it owns and zeroes it. */
void topic_pattern_clear(topic_pattern *pattern);

/*
** The filter form in `buffer`, which is reset first; an absent group: not
** shared.  Fails when memory is short or with invalid configuration,
** `property`, when it is longer than MQTT allows.
*/
int topic_pattern_filter(const topic_pattern *pattern, iotops_text group,
                         text_buffer *buffer, iotops_error *err);

/*
** The publish form: a view into `pattern` when it has no open tokens, else
** into `buffer`.  Fails with invalid configuration, the name of a token that
** is missing (no value) or invalid.
*/
int topic_pattern_publish(const topic_pattern *pattern,
                          const iotops_token *tokens, size_t token_count,
                          text_buffer *buffer, iotops_text *topic,
                          iotops_error *err);

/*
** True when `topic` matches; fills `tokens[0 .. token_count)`: names and
** constructor values are views into `pattern`, others into `topic`.
*/
bool topic_pattern_match(const topic_pattern *pattern, iotops_text topic,
                         iotops_token *tokens);

#endif
