/*
** topic.h -- topic patterns, tokens and matching (protocol.md section 2), and
** MQTT topic names and filters (MQTT v5 section 4.7).
*/
#ifndef IOTOPS_TOPIC_H
#define IOTOPS_TOPIC_H

#include "iotops/error.h"

/* A token's name (without braces) and its value. */
typedef struct iotops_token {
  iotops_text name;
  iotops_text value;
} iotops_token;

#ifdef __cplusplus
extern "C" {
#endif

/* The grammar of protocol.md section 2.1. */
IOTOPS_API bool iotops_topic_pattern_valid(iotops_text pattern);
IOTOPS_API bool iotops_topic_namespace_valid(iotops_text text);
IOTOPS_API bool iotops_token_value_valid(iotops_text value);
IOTOPS_API bool iotops_share_group_valid(iotops_text group);

/*
** A topic that a peer may give as response topic (protocol.md section 7.2
** step 1): tolerant of `"`, otherwise as strict as a pattern without tokens.
*/
IOTOPS_API bool iotops_response_topic_valid(iotops_text topic);

/* MQTT v5 section 4.7: a topic name, a topic filter ($share included). */
IOTOPS_API bool iotops_topic_name_valid(iotops_text name);
IOTOPS_API bool iotops_topic_filter_valid(iotops_text filter);

/*
** True when `filter` matches `topic`; `$share/<group>/<f>` matches as `<f>`,
** `#` also matches the parent level, and a wildcard in the first level does
** not match a topic that starts with `$`.
*/
IOTOPS_API bool iotops_topic_filter_matches(iotops_text filter,
                                            iotops_text topic);

#ifdef __cplusplus
}
#endif

#endif
