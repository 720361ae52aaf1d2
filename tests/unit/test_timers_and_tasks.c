/*
** Timers, tasks and the loop of a context.
*/
#include "hand_clock.h"

/* ------------------------------------------------------------ timers -- */

enum { TIMERS = 300 };

typedef struct fired_list {
  int ids[TIMERS * 4];
  int count;
} fired_list;

typedef struct test_timer {
  iotops_timer timer;
  fired_list *fired;
  int id;
  bool expected; /* the reference: running, due, order of start */
  uint64_t due;
  int order;
} test_timer;

static void note_fired(iotops_timer *timer) {
  test_timer *t = timer->user;
  assert_false(timer->running);
  t->fired->ids[t->fired->count++] = t->id;
}

static int reference_next(const test_timer *timers, uint64_t now) {
  int next = -1;
  for (int i = 0; i < TIMERS; i++) {
    if (!timers[i].expected || timers[i].due > now)
      continue;
    if (next < 0 || timers[i].due < timers[next].due ||
        (timers[i].due == timers[next].due &&
         timers[i].order < timers[next].order))
      next = i;
  }
  return next;
}

static uint64_t reference_due(const test_timer *timers) {
  uint64_t due = UINT64_MAX;
  for (int i = 0; i < TIMERS; i++)
    if (timers[i].expected && timers[i].due < due)
      due = timers[i].due;
  return due;
}

static void random_starts_and_stops_fire_as_a_sorted_list_would(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 20; seed++) {
    hand_clock hand;
    iotops_context *context = context_on(&hand);
    fired_list fired = {{0}, 0};
    test_timer timers[TIMERS];
    int order = 0;
    memset(timers, 0, sizeof timers);
    srand(seed);
    for (int i = 0; i < TIMERS; i++) {
      timers[i].timer.fire = note_fired;
      timers[i].timer.user = &timers[i];
      timers[i].fired = &fired;
      timers[i].id = i;
    }
    for (int step = 0; step < 3000; step++) {
      test_timer *t = &timers[rand() % TIMERS];
      int action = rand() % 10;
      if (action < 6) {
        uint64_t delay = (uint64_t)(rand() % 50);
        iotops_timer_start(context, &t->timer, delay);
        t->expected = true;
        t->due = hand.now + delay;
        t->order = order++;
      } else if (action < 9) {
        iotops_timer_stop(context, &t->timer);
        t->expected = false;
      } else {
        hand.now += (uint64_t)(rand() % 20);
        fired.count = 0;
        iotops_context_ring(context);
        for (int i = 0; i < fired.count; i++) {
          int next = reference_next(timers, hand.now);
          assert_int_equal(fired.ids[i], next);
          timers[next].expected = false;
        }
        assert_int_equal(reference_next(timers, hand.now), -1);
      }
      assert_int_equal(t->timer.running, t->expected);
      assert_true(iotops_context_next_due(context) == reference_due(timers));
      /* The clock may ring early, never late. */
      assert_true(hand.alarm_ms <= iotops_context_next_due(context));
    }
    iotops_context_free(context);
  }
}
static void a_timer_that_starts_itself_fires_once_a_ring(void **state) {
  (void)state;
  hand_clock hand;
  restarting r = {.count = 0};
  r.context = context_on(&hand);
  r.timer.fire = start_again;
  r.timer.user = &r;
  iotops_timer_start(r.context, &r.timer, 0);
  iotops_context_ring(r.context);
  assert_int_equal(r.count, 1);
  assert_true(hand.alarm_ms == hand.now);
  iotops_context_ring(r.context);
  assert_int_equal(r.count, 2);
  iotops_timer_stop(r.context, &r.timer);
  assert_true(hand.alarm_ms == UINT64_MAX);
  iotops_context_free(r.context);
}

typedef struct stopper {
  iotops_timer timer;
  iotops_context *context;
  iotops_timer *victim;
  int count;
} stopper;

static void stop_victim(iotops_timer *timer) {
  stopper *s = timer->user;
  s->count++;
  iotops_timer_stop(s->context, s->victim);
}

static void a_timer_can_stop_another_that_is_due_as_well(void **state) {
  (void)state;
  hand_clock hand;
  iotops_context *context = context_on(&hand);
  stopper a = {.context = context}, b = {.context = context};
  a.timer.fire = b.timer.fire = stop_victim;
  a.timer.user = &a;
  b.timer.user = &b;
  a.victim = &b.timer;
  b.victim = &a.timer;
  iotops_timer_start(context, &a.timer, 5);
  iotops_timer_start(context, &b.timer, 5);
  hand.now = 5;
  iotops_context_ring(context);
  assert_int_equal(a.count, 1);
  assert_int_equal(b.count, 0);
  iotops_context_free(context);
}

static void a_delay_past_the_end_of_time_never_fires(void **state) {
  (void)state;
  hand_clock hand;
  restarting r = {.count = 0};
  r.context = context_on(&hand);
  r.timer.fire = start_again;
  r.timer.user = &r;
  hand.now = 1000;
  iotops_timer_start(r.context, &r.timer, UINT64_MAX);
  hand.now = UINT64_MAX / 2;
  iotops_context_ring(r.context);
  assert_int_equal(r.count, 0);
  assert_true(r.timer.running);
  iotops_timer_stop(r.context, &r.timer);
  iotops_context_free(r.context);
}

/* ------------------------------------------------------------- tasks -- */

typedef struct test_task test_task;
struct test_task {
  iotops_task task;
  iotops_context *context;
  char **trace;
  char name;
  test_task *soon, *late, *cancel; /* what it does when it runs; or NULL */
};

static void run_traced(iotops_task *task) {
  test_task *t = task->user;
  assert_false(task->queued);
  *(*t->trace)++ = t->name;
  if (t->soon != NULL)
    iotops_task_soon(t->context, &t->soon->task);
  if (t->late != NULL)
    iotops_task_late(t->context, &t->late->task);
  if (t->cancel != NULL)
    iotops_task_cancel(t->context, &t->cancel->task);
  iotops_context_drain(t->context); /* does nothing inside a task */
}

static void prepare_task(test_task *t, iotops_context *context, char **trace,
                         char name) {
  memset(t, 0, sizeof *t);
  t->task.run = run_traced;
  t->task.user = t;
  t->context = context;
  t->trace = trace;
  t->name = name;
}

static void
late_tasks_run_after_all_others_also_those_queued_meanwhile(void **state) {
  (void)state;
  hand_clock hand;
  iotops_context *context = context_on(&hand);
  char trace[32] = "";
  char *at = trace;
  test_task a, b, c, d, x, y;
  prepare_task(&a, context, &at, 'a');
  prepare_task(&b, context, &at, 'b');
  prepare_task(&c, context, &at, 'c');
  prepare_task(&d, context, &at, 'd');
  prepare_task(&x, context, &at, 'X');
  prepare_task(&y, context, &at, 'Y');
  a.soon = &c;
  x.soon = &d;
  iotops_task_late(context, &x.task);
  iotops_task_soon(context, &a.task);
  iotops_task_late(context, &y.task);
  iotops_task_soon(context, &b.task);
  iotops_task_soon(context, &a.task); /* is queued: nothing */
  iotops_context_drain(context);
  assert_string_equal(trace, "abcXdY");
  iotops_context_drain(context);
  assert_string_equal(trace, "abcXdY");
  iotops_context_free(context);
}

static void a_task_cancelled_by_an_earlier_one_does_not_run(void **state) {
  (void)state;
  hand_clock hand;
  iotops_context *context = context_on(&hand);
  char trace[32] = "";
  char *at = trace;
  test_task a, b, c, d;
  prepare_task(&a, context, &at, 'a');
  prepare_task(&b, context, &at, 'b');
  prepare_task(&c, context, &at, 'c');
  prepare_task(&d, context, &at, 'd');
  a.cancel = &b; /* in the middle */
  c.cancel = &d; /* the only late one */
  iotops_task_soon(context, &a.task);
  iotops_task_soon(context, &b.task);
  iotops_task_soon(context, &c.task);
  iotops_task_late(context, &d.task);
  iotops_context_drain(context);
  assert_string_equal(trace, "ac");
  iotops_task_cancel(context, &b.task); /* not queued: nothing */
  iotops_task_soon(context, &b.task);
  iotops_task_late(context, &d.task);
  iotops_context_drain(context);
  assert_string_equal(trace, "acbd");
  iotops_context_free(context);
}

static void random_queueing_and_cancelling_keeps_the_order(void **state) {
  (void)state;
  enum { TASKS = 24 };
  hand_clock hand;
  iotops_context *context = context_on(&hand);
  srand(7);
  for (int round = 0; round < 500; round++) {
    test_task tasks[TASKS];
    char trace[TASKS + 1] = "", expected[TASKS * 8 + 1] = "";
    char soon[TASKS * 4 + 1] = "", late[TASKS * 4 + 1] = "";
    char *at = trace;
    for (int i = 0; i < TASKS; i++)
      prepare_task(&tasks[i], context, &at, (char)('a' + i));
    for (int step = 0; step < TASKS * 3; step++) {
      test_task *t = &tasks[rand() % TASKS];
      char *in_soon = strchr(soon, t->name), *in_late = strchr(late, t->name);
      int action = rand() % 3;
      if (action == 2) {
        iotops_task_cancel(context, &t->task);
        if (in_soon != NULL)
          memmove(in_soon, in_soon + 1, strlen(in_soon));
        if (in_late != NULL)
          memmove(in_late, in_late + 1, strlen(in_late));
      } else {
        char *list = action == 0 ? soon : late;
        if (action == 0)
          iotops_task_soon(context, &t->task);
        else
          iotops_task_late(context, &t->task);
        if (in_soon == NULL && in_late == NULL)
          strncat(list, &t->name, 1);
      }
    }
    snprintf(expected, sizeof expected, "%s%s", soon, late);
    iotops_context_drain(context);
    assert_string_equal(trace, expected);
  }
  iotops_context_free(context);
}

typedef struct task_timer {
  iotops_timer timer;
  test_task *task;
} task_timer;

static void queue_task(iotops_timer *timer) {
  task_timer *t = timer->user;
  iotops_task_late(t->task->context, &t->task->task);
}

static void a_ring_runs_the_tasks_its_timers_queued(void **state) {
  (void)state;
  hand_clock hand;
  iotops_context *context = context_on(&hand);
  char trace[8] = "";
  char *at = trace;
  test_task a;
  task_timer t = {.task = &a};
  prepare_task(&a, context, &at, 'a');
  t.timer.fire = queue_task;
  t.timer.user = &t;
  iotops_timer_start(context, &t.timer, 3);
  iotops_context_ring(context);
  assert_string_equal(trace, "");
  hand.now = 3;
  iotops_context_ring(context);
  assert_string_equal(trace, "a");
  iotops_context_free(context);
}

/* --------------------------------------------------------- the loop -- */

static void an_idle_context_does_not_keep_its_loop_running(void **state) {
  (void)state;
  iotops_context *context = system_context();
  iotops_context_run(context);
  iotops_context_run_once(context, true);
  assert_false(uv_loop_alive(iotops_context_loop(context)));
  iotops_context_free(context);
}

static void
run_returns_when_the_last_timer_and_its_tasks_are_done(void **state) {
  (void)state;
  iotops_context *context = system_context();
  char trace[8] = "";
  char *at = trace;
  test_task a, b;
  task_timer t = {.task = &a};
  prepare_task(&a, context, &at, 'a');
  prepare_task(&b, context, &at, 'b');
  a.soon = &b;
  t.timer.fire = queue_task;
  t.timer.user = &t;
  uint64_t before = iotops_mono_ms(context);
  iotops_timer_start(context, &t.timer, 20);
  iotops_context_run(context);
  assert_string_equal(trace, "ab");
  uint64_t took = iotops_mono_ms(context) - before;
  assert_true(took >= 20 && took < 1000);
  iotops_context_free(context);
}

static void stop_queue(iotops_task *task) {
  iotops_context_stop(task->user);
}

static void stop_ends_a_run_with_timers_left(void **state) {
  (void)state;
  iotops_context *context = system_context();
  restarting r = {.context = context};
  iotops_task stop = {.run = stop_queue, .user = context};
  r.timer.fire = start_again;
  r.timer.user = &r;
  iotops_timer_start(context, &r.timer, 60000);
  iotops_task_soon(context, &stop);
  iotops_context_run(context);
  assert_int_equal(r.count, 0);
  iotops_timer_stop(context, &r.timer);
  iotops_context_run(context);
  iotops_context_free(context);
}

static void run_once_does_not_wait_when_a_task_or_timer_has_run(void **state) {
  (void)state;
  iotops_context *context = system_context();
  char trace[8] = "";
  char *at = trace;
  test_task a;
  restarting far = {.context = context};
  task_timer near = {.task = &a};
  prepare_task(&a, context, &at, 'a');
  far.timer.fire = start_again;
  far.timer.user = &far;
  near.timer.fire = queue_task;
  near.timer.user = &near;
  uint64_t before = iotops_mono_ms(context);
  iotops_timer_start(context, &far.timer, 60000);
  iotops_task_soon(context, &a.task);
  iotops_context_run_once(context, true);
  assert_string_equal(trace, "a");
  iotops_timer_start(context, &near.timer, 5);
  uv_sleep(10); /* due when the turn begins */
  iotops_context_run_once(context, true);
  assert_string_equal(trace, "aa");
  iotops_timer_start(context, &near.timer, 5);
  while (at - trace < 3)
    iotops_context_run_once(context, true);
  assert_true(iotops_mono_ms(context) - before < 5000);
  iotops_timer_stop(context, &far.timer);
  iotops_context_free(context);
}

static void on_far_uv_timer(uv_timer_t *timer) {
  (void)timer;
}

static void on_near_uv_timer(uv_timer_t *timer) {
  test_task *t = timer->data;
  iotops_task_soon(t->context, &t->task);
}

static void
a_task_queued_by_a_foreign_handle_runs_before_the_wait(void **state) {
  (void)state;
  iotops_context *context = system_context();
  uv_loop_t *loop = iotops_context_loop(context);
  char trace[8] = "";
  char *at = trace;
  test_task a;
  iotops_task stop = {.run = stop_queue, .user = context};
  uv_timer_t near, far;
  prepare_task(&a, context, &at, 'a');
  uv_timer_init(loop, &near);
  uv_timer_init(loop, &far);
  near.data = &a;
  uv_timer_start(&near, on_near_uv_timer, 1, 0);
  uv_timer_start(&far, on_far_uv_timer, 60000, 0);
  while (at == trace)
    iotops_context_run_once(context, true);
  iotops_task_soon(context, &stop);
  iotops_context_run(context);
  uv_close((uv_handle_t *)&near, NULL);
  uv_close((uv_handle_t *)&far, NULL);
  iotops_context_free(context);
}

typedef struct endless {
  iotops_task task;
  iotops_context *context;
} endless;

static void requeue(iotops_task *task) {
  endless *e = task->user;
  iotops_task_soon(e->context, task);
}

static void stop_by_timer(iotops_timer *timer) {
  endless *e = timer->user;
  iotops_task_cancel(e->context, &e->task);
}

static void a_task_that_queues_itself_does_not_starve_timers(void **state) {
  (void)state;
  iotops_context *context = system_context();
  endless e = {.context = context};
  iotops_timer timer = {.fire = stop_by_timer, .user = &e};
  e.task.run = requeue;
  e.task.user = &e;
  iotops_task_soon(context, &e.task);
  iotops_timer_start(context, &timer, 5);
  iotops_context_run(context);
  assert_false(e.task.queued);
  iotops_context_free(context);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_starts_and_stops_fire_as_a_sorted_list_would),
      cmocka_unit_test(a_timer_that_starts_itself_fires_once_a_ring),
      cmocka_unit_test(a_timer_can_stop_another_that_is_due_as_well),
      cmocka_unit_test(a_delay_past_the_end_of_time_never_fires),
      cmocka_unit_test(
          late_tasks_run_after_all_others_also_those_queued_meanwhile),
      cmocka_unit_test(a_task_cancelled_by_an_earlier_one_does_not_run),
      cmocka_unit_test(random_queueing_and_cancelling_keeps_the_order),
      cmocka_unit_test(a_ring_runs_the_tasks_its_timers_queued),
      cmocka_unit_test(an_idle_context_does_not_keep_its_loop_running),
      cmocka_unit_test(run_returns_when_the_last_timer_and_its_tasks_are_done),
      cmocka_unit_test(stop_ends_a_run_with_timers_left),
      cmocka_unit_test(run_once_does_not_wait_when_a_task_or_timer_has_run),
      cmocka_unit_test(a_task_queued_by_a_foreign_handle_runs_before_the_wait),
      cmocka_unit_test(a_task_that_queues_itself_does_not_starve_timers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
