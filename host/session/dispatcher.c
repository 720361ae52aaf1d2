/* dispatcher.c -- a trie of topic filters. */
#include "session/dispatcher.h"

#include <string.h>

#include "iotops/topic.h"

struct dispatch_node {
  dispatch_node *parent;          /* borrowed; NULL: the root */
  dispatch_node *next;            /* in its bucket */
  dispatch_node *plus;            /* the child for "+" */
  dispatch_filter *exact, *multi; /* filters that end here, or here in "#" */
  size_t children;
  uint32_t hash;
  bool is_plus;
  size_t size;
  char level[];
};

enum { FIRST_BUCKETS = 64, SUBSCRIPTION_ID_MAX = 268435455 };

/* ------------------------------------------------------------- nodes -- */

static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t size) {
  const uint8_t *at = bytes;

  for (size_t i = 0; i < size; i++)
    hash = (hash ^ at[i]) * 16777619u;
  return hash;
}

/* Levels of one parent and those of another must not fall together. */
static uint32_t hash_level(const dispatch_node *parent, iotops_text level) {
  uint32_t hash = hash_bytes(2166136261u, &parent, sizeof parent);

  hash = hash_bytes(hash, level.data, level.size);
  return hash ^ hash >> 15;
}

static dispatch_node *find_child(const dispatcher *dispatcher,
                                 const dispatch_node *parent,
                                 iotops_text level) {
  uint32_t hash = hash_level(parent, level);
  dispatch_node *node =
      dispatcher->buckets[hash & (dispatcher->bucket_count - 1)];

  while (node && (node->hash != hash || node->parent != parent ||
                  node->size != level.size ||
                  memcmp(node->level, level.data, level.size) != 0))
    node = node->next;
  return node;
}

static void grow_buckets(dispatcher *dispatcher) {
  size_t count = dispatcher->bucket_count * 2;
  dispatch_node **buckets =
      iotops_zalloc(dispatcher->context, count * sizeof *buckets);

  if (!buckets)
    return; /* chains grow longer; nothing breaks */
  for (size_t i = 0; i < dispatcher->bucket_count; i++) {
    dispatch_node *node = dispatcher->buckets[i];

    while (node) {
      dispatch_node *next = node->next;

      node->next = buckets[node->hash & (count - 1)];
      buckets[node->hash & (count - 1)] = node;
      node = next;
    }
  }
  iotops_free(dispatcher->context, dispatcher->buckets);
  dispatcher->buckets = buckets;
  dispatcher->bucket_count = count;
}

static dispatch_node *add_child(dispatcher *dispatcher, dispatch_node *parent,
                                iotops_text level) {
  dispatch_node *node =
      iotops_zalloc(dispatcher->context, sizeof *node + level.size);
  dispatch_node **bucket;

  if (!node)
    return NULL;
  if (dispatcher->node_count >= dispatcher->bucket_count)
    grow_buckets(dispatcher);
  node->parent = parent;
  node->size = level.size;
  if (level.size > 0)
    memcpy(node->level, level.data, level.size);
  parent->children++;
  if (level.size == 1 && level.data[0] == '+') {
    node->is_plus = true;
    parent->plus = node;
    return node;
  }
  node->hash = hash_level(parent, level);
  bucket = &dispatcher->buckets[node->hash & (dispatcher->bucket_count - 1)];
  node->next = *bucket;
  *bucket = node;
  dispatcher->node_count++;
  return node;
}

/* Frees `node` and those above it that nothing needs any more. */
static void prune(dispatcher *dispatcher, dispatch_node *node) {
  while (node->parent && !node->exact && !node->multi && node->children == 0) {
    dispatch_node *parent = node->parent;

    if (node->is_plus) {
      parent->plus = NULL;
    } else {
      dispatch_node **link =
          &dispatcher->buckets[node->hash & (dispatcher->bucket_count - 1)];

      while (*link != node)
        link = &(*link)->next;
      *link = node->next;
      dispatcher->node_count--;
    }
    iotops_free(dispatcher->context, node);
    parent->children--;
    node = parent;
  }
}

/* Splits the next level off `*rest`; false when there is none. */
static bool next_level(iotops_text *rest, iotops_text *level) {
  const char *slash;

  if (!rest->data)
    return false;
  slash = rest->size ? memchr(rest->data, '/', rest->size) : NULL;
  level->data = rest->data;
  if (!slash) {
    level->size = rest->size;
    rest->data = NULL;
    return true;
  }
  level->size = (size_t)(slash - rest->data);
  rest->size -= level->size + 1;
  rest->data = slash + 1;
  return true;
}

/* The part of a filter that topics are matched with. */
static iotops_text without_share(iotops_text filter) {
  static const char prefix[] = "$share/";
  size_t size = sizeof prefix - 1;
  const char *slash;

  if (filter.size <= size || memcmp(filter.data, prefix, size) != 0)
    return filter;
  slash = memchr(filter.data + size, '/', filter.size - size);
  if (!slash)
    return filter;
  filter.size -= (size_t)(slash + 1 - filter.data);
  filter.data = slash + 1;
  return filter;
}

/*
** The node where `filter` ends, made on the way when `make`; NULL when it is
** not there or memory is short.
*/
static dispatch_node *node_of(dispatcher *dispatcher, iotops_text filter,
                              bool make, bool *multi) {
  iotops_text rest = without_share(filter), level;
  dispatch_node *node = dispatcher->root;

  *multi = false;
  while (next_level(&rest, &level)) {
    dispatch_node *child;

    if (level.size == 1 && level.data[0] == '#') {
      *multi = true;
      break;
    }
    child = level.size == 1 && level.data[0] == '+'
                ? node->plus
                : find_child(dispatcher, node, level);
    if (!child && make) {
      child = add_child(dispatcher, node, level);
      if (!child)
        prune(dispatcher, node);
    }
    if (!child)
      return NULL;
    node = child;
  }
  return node;
}

/* ----------------------------------------------------------- filters -- */

static dispatch_filter *filter_at(dispatch_node *node, bool multi,
                                  iotops_text text) {
  dispatch_filter *filter = multi ? node->multi : node->exact;

  while (filter && (filter->size != text.size ||
                    memcmp(filter->text, text.data, text.size) != 0))
    filter = filter->next;
  return filter;
}

dispatch_filter *dispatcher_find(dispatcher *dispatcher, iotops_text text) {
  bool multi;
  dispatch_node *node = node_of(dispatcher, text, false, &multi);

  return node ? filter_at(node, multi, text) : NULL;
}

/* The same in every process, so that a resumed session routes as before. */
static uint32_t subscription_id(const dispatcher *dispatcher,
                                iotops_text text) {
  uint32_t id = hash_bytes(2166136261u, text.data, text.size);

  id = (id ^ id >> 28) % SUBSCRIPTION_ID_MAX + 1;
  while (id_map_find(&dispatcher->ids, id))
    id = id % SUBSCRIPTION_ID_MAX + 1;
  return id;
}

dispatch_filter *dispatcher_hold(dispatcher *dispatcher, iotops_text text) {
  bool multi;
  dispatch_node *node = node_of(dispatcher, text, true, &multi);
  dispatch_filter *filter, **list;

  if (!node)
    return NULL;
  filter = filter_at(node, multi, text);
  if (filter) {
    filter->holds++;
    return filter;
  }
  filter = iotops_zalloc(dispatcher->context, sizeof *filter + text.size + 1);
  if (!filter) {
    prune(dispatcher, node);
    return NULL;
  }
  filter->node = node;
  filter->multi = multi;
  filter->holds = 1;
  filter->size = text.size;
  memcpy(filter->text, text.data, text.size);
  list = multi ? &node->multi : &node->exact;
  filter->next = *list;
  *list = filter;
  id_map_add(&dispatcher->ids, &filter->by_id,
             subscription_id(dispatcher, text));
  return filter;
}

void dispatcher_release(dispatcher *dispatcher, dispatch_filter *filter) {
  dispatch_filter **link;

  if (--filter->holds > 0)
    return;
  link = filter->multi ? &filter->node->multi : &filter->node->exact;
  while (*link != filter)
    link = &(*link)->next;
  *link = filter->next;
  id_map_remove(&dispatcher->ids, filter->by_id.id);
  prune(dispatcher, filter->node);
  iotops_free(dispatcher->context, filter);
}

void dispatcher_own(dispatch_filter *filter) {
  filter->owners++;
  filter->holds++;
}

void dispatcher_disown(dispatcher *dispatcher, dispatch_filter *filter) {
  filter->owners--;
  dispatcher_release(dispatcher, filter);
}

/* --------------------------------------------------------- receivers -- */

bool dispatcher_init(dispatcher *dispatcher, iotops_context *context) {
  memset(dispatcher, 0, sizeof *dispatcher);
  dispatcher->context = context;
  id_map_init(&dispatcher->ids, context);
  dispatcher->bucket_count = FIRST_BUCKETS;
  dispatcher->buckets =
      iotops_zalloc(context, FIRST_BUCKETS * sizeof *dispatcher->buckets);
  dispatcher->root = iotops_zalloc(context, sizeof *dispatcher->root);
  if (dispatcher->buckets && dispatcher->root)
    return true;
  dispatcher_free(dispatcher);
  return false;
}

static void free_removed(dispatcher *dispatcher) {
  while (dispatcher->removed) {
    iotops_receiver *receiver = dispatcher->removed;

    dispatcher->removed = receiver->next;
    iotops_free(dispatcher->context, receiver);
  }
}

/* Whoever else held a filter has been freed before. */
static void free_filters(dispatcher *dispatcher) {
  id_map *ids = &dispatcher->ids;

  for (size_t i = 0; i <= (ids->buckets ? ids->mask : 0); i++) {
    id_node **first = ids->buckets ? &ids->buckets[i] : &ids->none;

    while (*first) {
      dispatch_filter *filter = (dispatch_filter *)*first;

      filter->holds++;
      while (filter->first)
        dispatcher_remove(dispatcher, filter->first);
      filter->holds = 1;
      dispatcher_release(dispatcher, filter);
    }
  }
}

void dispatcher_free(dispatcher *dispatcher) {
  if (dispatcher->root && dispatcher->buckets)
    free_filters(dispatcher);
  while (dispatcher->unfiltered)
    dispatcher_remove(dispatcher, dispatcher->unfiltered);
  dispatcher->running = 0;
  free_removed(dispatcher);
  id_map_free(&dispatcher->ids);
  iotops_free(dispatcher->context, dispatcher->root);
  iotops_free(dispatcher->context, dispatcher->buckets);
  iotops_free(dispatcher->context, dispatcher->matched);
  dispatcher->root = NULL;
  dispatcher->buckets = NULL;
  dispatcher->matched = NULL;
}

iotops_receiver *dispatcher_add(dispatcher *dispatcher, iotops_text filter,
                                iotops_on_message on_message, void *user) {
  iotops_receiver *receiver =
      iotops_zalloc(dispatcher->context, sizeof *receiver);
  iotops_receiver **first, **last;

  if (!receiver)
    return NULL;
  receiver->on_message = on_message;
  receiver->user = user;
  if (filter.data) {
    receiver->filter = dispatcher_hold(dispatcher, filter);
    if (!receiver->filter) {
      iotops_free(dispatcher->context, receiver);
      return NULL;
    }
    first = &receiver->filter->first;
    last = &receiver->filter->last;
  } else {
    first = &dispatcher->unfiltered;
    last = &dispatcher->last_unfiltered;
  }
  receiver->previous = *last;
  *(*last ? &(*last)->next : first) = receiver;
  *last = receiver;
  return receiver;
}

void dispatcher_remove(dispatcher *dispatcher, iotops_receiver *receiver) {
  dispatch_filter *filter = receiver->filter;
  iotops_receiver **first = filter ? &filter->first : &dispatcher->unfiltered;
  iotops_receiver **last =
      filter ? &filter->last : &dispatcher->last_unfiltered;

  *(receiver->previous ? &receiver->previous->next : first) = receiver->next;
  *(receiver->next ? &receiver->next->previous : last) = receiver->previous;
  receiver->removed = true;
  receiver->next = dispatcher->removed;
  dispatcher->removed = receiver;
  if (filter)
    dispatcher_release(dispatcher, filter);
  if (!dispatcher->running)
    free_removed(dispatcher);
}

/* ---------------------------------------------------------- matching -- */

static bool take_receivers(dispatcher *dispatcher, iotops_receiver *receiver) {
  for (; receiver; receiver = receiver->next) {
    if (dispatcher->matched_count == dispatcher->matched_capacity) {
      size_t capacity =
          dispatcher->matched_capacity ? dispatcher->matched_capacity * 2 : 16;
      void *grown = iotops_resize(dispatcher->context, dispatcher->matched,
                                  capacity * sizeof(iotops_receiver *));

      if (!grown)
        return false;
      dispatcher->matched = grown;
      dispatcher->matched_capacity = capacity;
    }
    dispatcher->matched[dispatcher->matched_count++] = receiver;
  }
  return true;
}

static bool take_filters(dispatcher *dispatcher, dispatch_filter *filter,
                         bool unowned_only) {
  for (; filter; filter = filter->next)
    if (!(unowned_only && filter->owners > 0) &&
        !take_receivers(dispatcher, filter->first))
      return false;
  return true;
}

/* Goes no deeper than the trie, which holds DISPATCH_LEVELS_MAX levels. */
static bool walk(dispatcher *dispatcher, const dispatch_node *node,
                 iotops_text rest, bool unowned_only, bool wildcards) {
  iotops_text level;
  const dispatch_node *child;

  if (wildcards && node->multi &&
      !take_filters(dispatcher, node->multi, unowned_only))
    return false;
  if (!next_level(&rest, &level))
    return take_filters(dispatcher, node->exact, unowned_only);
  if (node->children == 0)
    return true;
  child = find_child(dispatcher, node, level);
  if (child && !walk(dispatcher, child, rest, unowned_only, true))
    return false;
  if (wildcards && node->plus)
    return walk(dispatcher, node->plus, rest, unowned_only, true);
  return true;
}

bool dispatcher_match(dispatcher *dispatcher, iotops_text topic,
                      const uint32_t *ids, size_t id_count) {
  bool known = false, wildcards = topic.size == 0 || topic.data[0] != '$';

  dispatcher->matched_count = 0;
  dispatcher->stamp++;
  for (size_t i = 0; i < id_count; i++) {
    dispatch_filter *filter =
        (dispatch_filter *)id_map_find(&dispatcher->ids, ids[i]);
    iotops_text text;

    if (!filter || filter->stamp == dispatcher->stamp)
      continue;
    text = (iotops_text){filter->text, filter->size};
    if (!iotops_topic_filter_matches(text, topic))
      continue;
    filter->stamp = dispatcher->stamp;
    known = true;
    if (!take_receivers(dispatcher, filter->first))
      return false;
  }
  /*
  ** Who subscribed to a filter of its own gets copies of its own; those who
  ** only listen are served by whichever subscription brought the message.
  */
  if (dispatcher->matched_count == 0 &&
      !walk(dispatcher, dispatcher->root, topic, known, wildcards))
    return false;
  if (dispatcher->matched_count == 0 &&
      !take_receivers(dispatcher, dispatcher->unfiltered))
    return false;
  dispatcher->running++;
  return true;
}

void dispatcher_end(dispatcher *dispatcher) {
  if (--dispatcher->running == 0)
    free_removed(dispatcher);
}
