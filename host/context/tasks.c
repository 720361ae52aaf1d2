#include "context/context_fields.h"

enum { TASKS_A_TURN = 10000 };

static void append(task_queue *queue, iotops_task *task) {
  task->next = NULL;
  task->previous = queue->last;
  if (queue->last == NULL)
    queue->first = task;
  else
    queue->last->next = task;
  queue->last = task;
  task->queued = true;
}

static void take_out(task_queue *queue, iotops_task *task) {
  if (task->previous == NULL)
    queue->first = task->next;
  else
    task->previous->next = task->next;
  if (task->next == NULL)
    queue->last = task->previous;
  else
    task->next->previous = task->previous;
  task->next = task->previous = NULL;
  task->queued = false;
}

static bool any_task(const iotops_context *context) {
  return context->soon.first != NULL || context->late.first != NULL;
}

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* being active keeps the loop from waiting */
}

static void enqueue(iotops_context *context, task_queue *queue,
                    iotops_task *task) {
  if (task->queued)
    return;
  append(queue, task);
  if (!context->draining && !context->closing)
    uv_idle_start(&context->idle, on_idle);
}

void iotops_task_soon(iotops_context *context, iotops_task *task) {
  enqueue(context, &context->soon, task);
}

void iotops_task_late(iotops_context *context, iotops_task *task) {
  enqueue(context, &context->late, task);
}

void iotops_task_cancel(iotops_context *context, iotops_task *task) {
  if (!task->queued)
    return;
  /* Only the ends of a queue tell which of the two it is. */
  bool is_late = context->late.first == task || context->late.last == task;
  take_out(is_late ? &context->late : &context->soon, task);
  if (!any_task(context) && !context->closing)
    uv_idle_stop(&context->idle);
}

static void drain(iotops_context *context, size_t limit) {
  if (context->draining || context->closing)
    return;
  context->draining = true;
  while (limit-- > 0 && any_task(context)) {
    task_queue *queue =
        context->soon.first != NULL ? &context->soon : &context->late;
    iotops_task *task = queue->first;
    take_out(queue, task);
    context->advanced = true;
    task->run(task);
  }
  context->draining = false;
  if (any_task(context))
    uv_idle_start(&context->idle, on_idle);
  else
    uv_idle_stop(&context->idle);
}

void iotops_context_drain(iotops_context *context) {
  drain(context, SIZE_MAX);
}

void context_drain_some(iotops_context *context) {
  drain(context, TASKS_A_TURN);
}
