#include "context/timer_heap.h"

/*
** `child` is the first child, `sibling` the next one, and `previous` the one
** before: the sibling to the left or, for a first child, the parent.
*/

static bool earlier(const iotops_timer *a, const iotops_timer *b) {
  return a->due_ms < b->due_ms ||
         (a->due_ms == b->due_ms && a->order < b->order);
}

/* Joins two heaps without siblings; either may be NULL. */
static iotops_timer *join(iotops_timer *a, iotops_timer *b) {
  if (a == NULL || b == NULL)
    return a == NULL ? b : a;
  if (earlier(b, a)) {
    iotops_timer *later = a;
    a = b;
    b = later;
  }
  b->previous = a;
  b->sibling = a->child;
  if (b->sibling != NULL)
    b->sibling->previous = b;
  a->child = b;
  return a;
}

/* Joins a list of siblings in two passes, without recursion. */
static iotops_timer *join_siblings(iotops_timer *first) {
  iotops_timer *pairs = NULL; /* in reverse, linked by sibling */
  iotops_timer *joined = NULL;
  while (first != NULL) {
    iotops_timer *a = first;
    iotops_timer *b = a->sibling;
    first = b == NULL ? NULL : b->sibling;
    a->sibling = NULL;
    if (b != NULL)
      b->sibling = NULL;
    a = join(a, b);
    a->sibling = pairs;
    pairs = a;
  }
  while (pairs != NULL) {
    iotops_timer *next = pairs->sibling;
    pairs->sibling = NULL;
    joined = join(joined, pairs);
    pairs = next;
  }
  if (joined != NULL)
    joined->previous = NULL;
  return joined;
}

void timer_heap_add(timer_heap *heap, iotops_timer *timer, uint64_t due_ms) {
  timer->due_ms = due_ms;
  timer->order = heap->next_order++;
  timer->child = timer->sibling = timer->previous = NULL;
  timer->running = true;
  heap->root = join(heap->root, timer);
}

void timer_heap_remove(timer_heap *heap, iotops_timer *timer) {
  iotops_timer *children = join_siblings(timer->child);
  if (timer == heap->root) {
    heap->root = children;
  } else {
    if (timer->previous->child == timer)
      timer->previous->child = timer->sibling;
    else
      timer->previous->sibling = timer->sibling;
    if (timer->sibling != NULL)
      timer->sibling->previous = timer->previous;
    heap->root = join(heap->root, children);
  }
  timer->child = timer->sibling = timer->previous = NULL;
  timer->running = false;
}
