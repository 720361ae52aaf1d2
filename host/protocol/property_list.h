/*
** property_list.h -- the user properties of a message that is about to be
** sent (protocol.md section 3.2).
**
** The envoy adds its own first, then the application's; an application pair
** with the name of one that the envoy wrote is left out with a warning, so
** each protocol name occurs once.  Pairs are views.  The array is kept for
** the next message.  A failed allocation is remembered in `failed`.
*/
#ifndef PROTOCOL_PROPERTY_LIST_H
#define PROTOCOL_PROPERTY_LIST_H

#include "iotops/message.h"

typedef struct property_list {
  iotops_context *context;     /* borrowed */
  iotops_user_property *pairs; /* owned; the texts are borrowed */
  size_t count, capacity;
  bool failed; /* memory was short: pairs are missing */
} property_list;

/* Prepares an empty list; allocates nothing. */
void property_list_init(property_list *list, iotops_context *context);

/* Frees the memory; the list can be used again. */
void property_list_clear(property_list *list);

/* Starts a new list in the same memory. */
void property_list_reset(property_list *list);

/* Adds one of the envoy's own; `name` and `value` are borrowed. */
void property_list_add(property_list *list, const char *name,
                       iotops_text value);

/*
** Adds the application's pairs, in order and with duplicates, but those that
** collide with what is in the list already; `component` names the envoy in
** the log.
*/
void property_list_add_user_data(property_list *list,
                                 const iotops_user_property *pairs,
                                 size_t count, const char *component);

#endif
