/* outbox.c -- queues of operations. */
#include "session/outbox.h"

/* ------------------------------------------------------------- lists -- */

static void link_last(outbox_list *list, outbox_op *op) {
  op->list = list;
  op->next = NULL;
  op->previous = list->last;
  *(list->last ? &list->last->next : &list->first) = op;
  list->last = op;
  list->count++;
}

static void link_first(outbox_list *list, outbox_op *op) {
  op->list = list;
  op->previous = NULL;
  op->next = list->first;
  *(list->first ? &list->first->previous : &list->last) = op;
  list->first = op;
  list->count++;
}

static void unlink_op(outbox *outbox, outbox_op *op) {
  outbox_list *list = op->list;

  if (!list)
    return;
  if (outbox->unplaced == op)
    outbox->unplaced = op->next;
  *(op->previous ? &op->previous->next : &list->first) = op->next;
  *(op->next ? &op->next->previous : &list->last) = op->previous;
  op->next = op->previous = NULL;
  op->list = NULL;
  list->count--;
}

static outbox_op *of_packet(id_node *node) {
  return node ? (outbox_op *)((char *)node - offsetof(outbox_op, by_packet))
              : NULL;
}

static void set_unwritten(outbox *outbox, outbox_op *op, bool unwritten) {
  if (op->unwritten == unwritten)
    return;
  op->unwritten = unwritten;
  outbox->unwritten += unwritten ? 1 : (size_t)-1;
}

/* QoS 0 has a packet id too, but no answer comes for it. */
static void forget_packet(outbox *outbox, outbox_op *op) {
  set_unwritten(outbox, op, false);
  if (op->packet_id != 0)
    id_map_remove(&outbox->packets, op->packet_id);
  op->packet_id = 0;
}

/* -------------------------------------------------------------- life -- */

void outbox_init(outbox *outbox, iotops_context *context,
                 dispatcher *dispatcher) {
  *outbox = (struct outbox){.context = context, .dispatcher = dispatcher};
  for (int i = 0; i < OUTBOX_CLASSES; i++)
    outbox->limits[i] = 100;
  id_map_init(&outbox->ids, context);
  id_map_init(&outbox->packets, context);
}

static void delete_all(outbox *outbox, outbox_list *list) {
  while (list->first)
    outbox_delete(outbox, list->first);
}

void outbox_free(outbox *outbox) {
  for (int i = 0; i < OUTBOX_CLASSES; i++) {
    delete_all(outbox, &outbox->queues[i]);
    delete_all(outbox, &outbox->in_flight[i]);
  }
  delete_all(outbox, &outbox->ended);
  id_map_free(&outbox->ids);
  id_map_free(&outbox->packets);
}

outbox_op *outbox_new(outbox *outbox, outbox_kind kind, outbox_class class,
                      iotops_mqtt_done done, void *user) {
  outbox_op *op = iotops_zalloc(outbox->context, sizeof *op);

  if (!op)
    return NULL;
  op->kind = kind;
  op->class = class;
  op->done = done;
  op->user = user;
  id_map_add(&outbox->ids, &op->by_id, ++outbox->last_id);
  return op;
}

void outbox_delete(outbox *outbox, outbox_op *op) {
  unlink_op(outbox, op);
  forget_packet(outbox, op);
  delete_all(outbox, &op->followers);
  id_map_remove(&outbox->ids, op->by_id.id);
  if (op->filter)
    dispatcher_release(outbox->dispatcher, op->filter);
  iotops_free(outbox->context, op->message);
  iotops_free(outbox->context, op->error);
  iotops_free(outbox->context, op);
}

/* ------------------------------------------------------------ queues -- */

const char *outbox_class_name(outbox_class class) {
  static const char *const names[] = {"subscribe_queue", "publish_queue_qos0",
                                      "publish_queue_qos1"};

  return names[class];
}

bool outbox_put(outbox *outbox, outbox_op *op) {
  outbox_list *queue = &outbox->queues[op->class];

  if (outbox_is_full(outbox, op->class)) {
    if (op->class == OUTBOX_CONTROL || outbox->when_full == OUTBOX_WAIT) {
      outbox->was_full = true;
      return false;
    }
    if (outbox->when_full == OUTBOX_DROP_NEWEST) {
      outbox_end_op(outbox, op, OUTBOX_DROPPED, NULL);
      return true;
    }
    outbox_end_op(outbox, queue->first, OUTBOX_DROPPED, NULL);
  }
  link_last(queue, op);
  return true;
}

bool outbox_is_full(const outbox *outbox, outbox_class class) {
  return outbox->queues[class].count >= outbox->limits[class];
}

bool outbox_has_room(const outbox *outbox) {
  for (int i = 0; i < OUTBOX_CLASSES; i++)
    if (outbox_is_full(outbox, (outbox_class)i))
      return false;
  return true;
}

void outbox_sent(outbox *outbox, outbox_op *op, uint16_t packet_id) {
  unlink_op(outbox, op);
  link_last(&outbox->in_flight[op->class], op);
  if (op->class == OUTBOX_QOS0) {
    op->placed = false;
    if (!outbox->unplaced)
      outbox->unplaced = op;
    return; /* the message is kept: it may have to be sent again */
  }
  op->packet_id = packet_id;
  set_unwritten(outbox, op, op->class == OUTBOX_QOS1);
  id_map_add(&outbox->packets, &op->by_packet, packet_id);
  iotops_free(outbox->context, op->message);
  op->message = NULL;
}

bool outbox_uses(const outbox *outbox, uint16_t packet_id) {
  return id_map_find(&outbox->packets, packet_id) != NULL;
}

bool outbox_repeats(const outbox *outbox, uint16_t packet_id) {
  const id_node *found = id_map_find(&outbox->packets, packet_id);

  if (!found)
    return false;
  return ((const outbox_op *)((const char *)found -
                              offsetof(outbox_op, by_packet)))
      ->repeats;
}

bool outbox_wrote(outbox *outbox, uint16_t packet_id) {
  outbox_op *op = of_packet(id_map_find(&outbox->packets, packet_id));

  if (!op || op->kind != OUTBOX_PUBLISH)
    return false;
  set_unwritten(outbox, op, false);
  return true;
}

outbox_op *outbox_answered(outbox *outbox, outbox_kind kind,
                           uint16_t packet_id) {
  outbox_op *op = of_packet(id_map_find(&outbox->packets, packet_id));

  if (!op || op->kind != kind)
    return NULL;
  forget_packet(outbox, op);
  unlink_op(outbox, op);
  return op;
}

void outbox_placed(outbox *outbox, uint64_t end_at) {
  outbox_op *op = outbox->unplaced;

  if (!op)
    return;
  op->end_at = end_at;
  op->placed = true;
  outbox->unplaced = op->next;
}

outbox_op *outbox_written(outbox *outbox, uint64_t written) {
  outbox_op *op = outbox->in_flight[OUTBOX_QOS0].first;

  if (!op || !op->placed || op->end_at > written)
    return NULL;
  unlink_op(outbox, op);
  return op;
}

/* ------------------------------------------------------------ endings -- */

void outbox_lost(outbox *outbox) {
  static const outbox_class again[] = {OUTBOX_CONTROL, OUTBOX_QOS0};

  outbox->unplaced = NULL;
  for (outbox_op *op = outbox->in_flight[OUTBOX_QOS1].first; op;
       op = op->next) {
    op->repeats = true;
    set_unwritten(outbox, op, true);
  }
  for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
    outbox_list *list = &outbox->in_flight[again[i]];

    while (list->last) {
      outbox_op *op = list->last;

      forget_packet(outbox, op);
      unlink_op(outbox, op);
      /* A QoS 0 message that was given up is not worth another try. */
      if (op->abandoned && op->kind == OUTBOX_PUBLISH)
        outbox_delete(outbox, op);
      else
        link_first(&outbox->queues[again[i]], op);
    }
  }
}

void outbox_end_op(outbox *outbox, outbox_op *op, outbox_end end,
                   const iotops_error *error) {
  while (op->followers.first)
    outbox_end_op(outbox, op->followers.first, end, error);
  unlink_op(outbox, op);
  forget_packet(outbox, op);
  op->end = end;
  if (error) {
    op->error = iotops_resize(outbox->context, NULL, sizeof *op->error);
    if (op->error)
      *op->error = *error;
  }
  link_last(&outbox->ended, op);
}

void outbox_end_all(outbox *outbox) {
  for (int i = 0; i < OUTBOX_CLASSES; i++) {
    while (outbox->in_flight[i].first)
      outbox_end_op(outbox, outbox->in_flight[i].first, OUTBOX_STOPPED, NULL);
    while (outbox->queues[i].first)
      outbox_end_op(outbox, outbox->queues[i].first, OUTBOX_STOPPED, NULL);
  }
}

static void give_up_ownership(outbox *outbox, outbox_op *op) {
  if (op->owns)
    dispatcher_disown(outbox->dispatcher, op->filter);
  op->owns = false;
}

/* Gives the caller of `op` an ending of its own, and leaves the packet. */
static bool split(outbox *outbox, outbox_op *op) {
  outbox_op *twin = outbox_new(outbox, op->kind, op->class, op->done, op->user);
  uint64_t id;

  if (!twin)
    return false;
  /* The number is the caller's: it goes with the caller. */
  id = op->by_id.id;
  id_map_remove(&outbox->ids, id);
  id_map_remove(&outbox->ids, twin->by_id.id);
  id_map_add(&outbox->ids, &op->by_id, twin->by_id.id);
  id_map_add(&outbox->ids, &twin->by_id, id);
  op->done = NULL;
  op->abandoned = true;
  give_up_ownership(outbox, op);
  outbox_end_op(outbox, twin, OUTBOX_CANCELLED, NULL);
  return true;
}

void outbox_cancel(outbox *outbox, iotops_operation id) {
  outbox_op *op = (outbox_op *)id_map_find(&outbox->ids, id);

  if (!op || !op->list || op->list == &outbox->ended)
    return;
  /* The packet stays when it has left, or when others wait for its answer. */
  if (op->followers.first || op->list == &outbox->in_flight[op->class]) {
    split(outbox, op);
    return;
  }
  give_up_ownership(outbox, op);
  outbox_end_op(outbox, op, OUTBOX_CANCELLED, NULL);
}

outbox_op *outbox_next_ended(outbox *outbox) {
  outbox_op *op = outbox->ended.first;

  if (op)
    unlink_op(outbox, op);
  return op;
}

void outbox_follow(outbox *outbox, outbox_op *leader, outbox_op *op) {
  (void)outbox;
  link_last(&leader->followers, op);
}

outbox_op *outbox_subscribing(const outbox *outbox,
                              const dispatch_filter *filter) {
  const outbox_list *lists[] = {&outbox->queues[OUTBOX_CONTROL],
                                &outbox->in_flight[OUTBOX_CONTROL]};

  /* The newest counts: an older one may be followed by an unsubscribe. */
  for (size_t i = 0; i < 2; i++)
    for (outbox_op *op = lists[i]->last; op; op = op->previous)
      if (op->filter == filter)
        return op->kind == OUTBOX_SUBSCRIBE ? op : NULL;
  return NULL;
}
