/*
** acks.c -- random histories of the acknowledgement queue and the dispatcher
** against references of a few lines.
**
** acks HISTORIES: that many of the queue, a hundredth of them of the
** dispatcher.  SEED=N replays one.
*/
#include <time.h>

#include "iotops/topic.h"
#include "model.h"
#include "session/dispatcher.h"

#include "session/ack_queue.h"

enum { DELIVERIES = 16, SHARES = 4, HANDLES = 128 };

static model_random chance;
static iotops_context *context;

#define CHECK(condition) MODEL_CHECK(&chance, condition)

static uint32_t draw(uint32_t below) {
  return model_draw(&chance, below);
}

/* ------------------------------------------- the queue and its reference -- */

typedef struct delivery {
  uint16_t id;
  unsigned pending; /* shares that are not settled */
} delivery;

typedef struct reference {
  delivery fifo[DELIVERIES];
  unsigned count;
  bool open; /* the last one is still being dispatched */
} reference;

typedef struct handle {
  iotops_ack ack;
  uint16_t id;
  bool live; /* of this connection and not settled */
} handle;

static delivery *find(reference *reference, uint16_t id) {
  for (unsigned i = 0; i < reference->count; i++)
    if (reference->fifo[i].id == id)
      return &reference->fifo[i];
  return NULL;
}

/* Everything that may leave leaves, in order, and nothing else. */
static void compare(ack_queue *queue, reference *reference) {
  uint16_t id;

  while (reference->count > 0 && reference->fifo[0].pending == 0 &&
         !(reference->open && reference->count == 1)) {
    CHECK(ack_queue_next(queue, &id));
    CHECK(id == reference->fifo[0].id);
    memmove(reference->fifo, reference->fifo + 1,
            --reference->count * sizeof *reference->fifo);
  }
  CHECK(!ack_queue_next(queue, &id));
  CHECK(queue->count == reference->count);
  CHECK(queue->held_bytes == reference->count * UINT64_C(10));
}

static void arrive(ack_queue *queue, reference *reference, handle *handles,
                   unsigned limit) {
  uint16_t id = (uint16_t)(1 + draw(20));
  ack_entry_result wanted = find(reference, id)         ? ACK_DUPLICATE
                            : reference->count == limit ? ACK_FULL
                                                        : ACK_ENTERED;

  CHECK(ack_queue_enter(queue, id, 10) == wanted);
  if (wanted != ACK_ENTERED)
    return;
  reference->fifo[reference->count++] = (delivery){.id = id};
  reference->open = true;
  for (unsigned shares = draw(SHARES); shares > 0; shares--) {
    handle *handle = &handles[draw(HANDLES)];

    if (handle->live) { /* its place is wanted: settled first */
      CHECK(ack_queue_settle(queue, handle->ack));
      find(reference, handle->id)->pending--;
    }
    CHECK(ack_queue_share(queue, &handle->ack));
    handle->id = id;
    handle->live = true;
    find(reference, id)->pending++;
  }
}

static void one_history(uint64_t seed) {
  static ack_queue queue;
  reference reference = {0};
  handle handles[HANDLES] = {0};
  unsigned steps, limit;
  uint32_t epoch;

  model_begin(&chance, seed);
  steps = 4 + draw(40);
  limit = 1 + draw(DELIVERIES);
  ack_queue_init(&queue, context, (uint16_t)limit);
  ack_queue_begin(&queue);
  while (steps-- > 0) {
    handle *handle = &handles[draw(HANDLES / 4)];

    switch (draw(12)) {
    case 0: /* the connection is lost; sometimes the next one comes up */
      if (draw(4))
        break;
      epoch = queue.epoch;
      ack_queue_reset(&queue);
      for (int i = 0; i < HANDLES; i++) {
        if (handles[i].live)
          CHECK(!ack_queue_settle(&queue, handles[i].ack));
        handles[i].live = false;
      }
      memset(&reference, 0, sizeof reference);
      if (draw(8) == 0)
        steps = 0; /* the session exits */
      ack_queue_begin(&queue);
      CHECK(queue.epoch != epoch && queue.epoch != 0);
      break;
    case 1:
    case 2:
    case 3:
    case 4:
      if (!reference.open) /* one is dispatched at a time */
        arrive(&queue, &reference, handles, limit);
      break;
    case 5:
    case 6:
      if (reference.open)
        ack_queue_seal(&queue);
      reference.open = false;
      break;
    default: /* settled for the first time, again, or too late */
      if (handle->ack.epoch == 0)
        break;
      CHECK(ack_queue_settle(&queue, handle->ack) == handle->live);
      if (handle->live)
        find(&reference, handle->id)->pending--;
      handle->live = false;
    }
    compare(&queue, &reference);
  }
  ack_queue_free(&queue);
}

/* --------------------------------------------------------- dispatcher -- */

enum { RECEIVERS = 12 };

static void ignore(void *user, const iotops_message *message, iotops_ack ack) {
  (void)user;
  (void)message;
  (void)ack;
}

static void make_text(char text[64], bool wild) {
  static const char *const levels[] = {"a", "b", "", "cc", "$s"};
  unsigned count = 1 + draw(4);

  text[0] = 0;
  if (wild && draw(6) == 0)
    strcpy(text, "$share/g/");
  for (unsigned i = 0; i < count; i++) {
    if (i > 0)
      strcat(text, "/");
    if (wild && draw(6) == 0) {
      strcat(text, "#");
      return;
    }
    strcat(text, wild && draw(4) == 0 ? "+" : levels[draw(5)]);
  }
  if (!text[0])
    strcpy(text, "a");
}

static void one_dispatch_history(uint64_t seed) {
  struct {
    char filter[64];
    iotops_receiver *receiver;
  } all[RECEIVERS] = {0};
  dispatcher dispatcher;
  unsigned steps;

  model_begin(&chance, seed);
  steps = 10 + draw(60);
  CHECK(dispatcher_init(&dispatcher, context));
  while (steps-- > 0) {
    unsigned slot = draw(RECEIVERS), removed = RECEIVERS;
    size_t expected = 0;
    char topic[64];

    if (all[slot].receiver) {
      dispatcher_remove(&dispatcher, all[slot].receiver);
      all[slot].receiver = NULL;
    } else {
      make_text(all[slot].filter, true);
      if (iotops_topic_filter_valid(iotops_text_of(all[slot].filter)))
        all[slot].receiver = dispatcher_add(
            &dispatcher, iotops_text_of(all[slot].filter), ignore, NULL);
    }
    make_text(topic, false);
    CHECK(dispatcher_match(&dispatcher, iotops_text_of(topic), NULL, 0));
    for (int i = 0; i < RECEIVERS; i++) {
      bool wanted = all[i].receiver &&
                    iotops_topic_filter_matches(iotops_text_of(all[i].filter),
                                                iotops_text_of(topic));
      unsigned times = 0;

      for (size_t k = 0; k < dispatcher.matched_count; k++)
        times += dispatcher.matched[k] == all[i].receiver;
      CHECK(!all[i].receiver || times == wanted);
      expected += wanted;
    }
    CHECK(dispatcher.matched_count == expected);
    /* One goes while the message is being dispatched. */
    if (dispatcher.matched_count > 0 && draw(3) == 0)
      for (unsigned i = 0; i < RECEIVERS; i++)
        if (all[i].receiver == dispatcher.matched[0])
          removed = i;
    if (removed < RECEIVERS) {
      dispatcher_remove(&dispatcher, all[removed].receiver);
      CHECK(dispatcher.matched[0]->removed);
      all[removed].receiver = NULL;
    }
    dispatcher_end(&dispatcher);
  }
  for (int i = 0; i < RECEIVERS; i++)
    if (all[i].receiver)
      dispatcher_remove(&dispatcher, all[i].receiver);
  CHECK(dispatcher.node_count == 0 && dispatcher.ids.count == 0);
  dispatcher_free(&dispatcher);
}

int main(int count, char **words) {
  const char *given = getenv("SEED");
  uint64_t histories = count > 1 ? strtoull(words[1], NULL, 0) : 100000;
  uint64_t first = given ? strtoull(given, NULL, 0) : 1;
  clock_t began = clock();

  if (given)
    histories = 1;
  CHECK(iotops_context_new(NULL, &context, NULL) == 0);
  for (uint64_t i = 0; i < histories; i++) {
    one_history(first + i);
    if (given || i % 100 == 0)
      one_dispatch_history(first + i);
  }
  iotops_context_free(context);
  printf("SEED=%llu on: %llu histories of acknowledgements, %.1f s\n",
         (unsigned long long)first, (unsigned long long)histories,
         (double)(clock() - began) / CLOCKS_PER_SEC);
  printf("2 passed, 0 failed\n");
  return 0;
}
