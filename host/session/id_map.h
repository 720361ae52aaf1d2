/*
** id_map.h -- finds things by a number in constant time.
**
** The map links through nodes embedded in what it holds, so adding never
** fails: when memory for more buckets is short, chains grow longer instead.
** Numbers given out in sequence, as packet ids are, spread evenly.
*/
#ifndef IOTOPS_SESSION_ID_MAP_H
#define IOTOPS_SESSION_ID_MAP_H

#include "iotops/context.h"

typedef struct id_node id_node;
struct id_node {
  uint64_t id;
  id_node *next; /* private */
};

typedef struct id_map {
  iotops_context *context; /* borrowed */
  id_node **buckets;       /* owned */
  id_node *none;           /* the one bucket there is without memory */
  size_t mask, count;
} id_map;

void id_map_init(id_map *map, iotops_context *context);

/* Frees the buckets, not what was in them. */
void id_map_free(id_map *map);

/* Adds `node` under `id`, which must not be there yet. */
void id_map_add(id_map *map, id_node *node, uint64_t id);

/* The node, or NULL; remove takes it out. */
id_node *id_map_find(const id_map *map, uint64_t id);
id_node *id_map_remove(id_map *map, uint64_t id);

#endif
