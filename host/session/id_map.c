/* id_map.c -- an intrusive chained hash of numbers. */
#include "session/id_map.h"

void id_map_init(id_map *map, iotops_context *context) {
  *map = (id_map){.context = context};
}

void id_map_free(id_map *map) {
  iotops_free(map->context, map->buckets);
  *map = (id_map){.context = map->context};
}

static id_node **bucket_of(const id_map *map, uint64_t id) {
  if (!map->buckets)
    return (id_node **)&map->none;
  return &map->buckets[id & map->mask];
}

static void grow(id_map *map) {
  size_t size = map->buckets ? (map->mask + 1) * 2 : 64;
  id_node **buckets = iotops_zalloc(map->context, size * sizeof *buckets);
  id_map old = *map;

  if (!buckets)
    return;
  map->buckets = buckets;
  map->mask = size - 1;
  map->none = NULL;
  for (size_t i = 0; i <= (old.buckets ? old.mask : 0); i++) {
    id_node *node = old.buckets ? old.buckets[i] : old.none;

    while (node) {
      id_node *next = node->next, **bucket = bucket_of(map, node->id);

      node->next = *bucket;
      *bucket = node;
      node = next;
    }
  }
  iotops_free(map->context, old.buckets);
}

void id_map_add(id_map *map, id_node *node, uint64_t id) {
  id_node **bucket;

  if (map->count >= (map->buckets ? map->mask + 1 : 0))
    grow(map);
  bucket = bucket_of(map, id);
  node->id = id;
  node->next = *bucket;
  *bucket = node;
  map->count++;
}

id_node *id_map_find(const id_map *map, uint64_t id) {
  id_node *node = *bucket_of(map, id);

  while (node && node->id != id)
    node = node->next;
  return node;
}

id_node *id_map_remove(id_map *map, uint64_t id) {
  id_node **link = bucket_of(map, id), *node;

  while (*link && (*link)->id != id)
    link = &(*link)->next;
  node = *link;
  if (node) {
    *link = node->next;
    node->next = NULL;
    map->count--;
  }
  return node;
}
