#include <stdlib.h>

#include "context/context_fields.h"

struct context_post {
  void (*run)(void *user);
  void *user;
  context_post *next;
};

int iotops_context_post(iotops_context *context, void (*run)(void *user),
                        void *user, iotops_error *err) {
  /* Not the context's allocator: that one belongs to the loop's thread. */
  context_post *post = malloc(sizeof *post);
  if (post == NULL)
    return iotops_error_memory(err);
  post->run = run;
  post->user = user;
  post->next = NULL;
  uv_mutex_lock(&context->posts_lock);
  if (context->last_post == NULL)
    context->first_post = post;
  else
    context->last_post->next = post;
  context->last_post = post;
  uv_mutex_unlock(&context->posts_lock);
  uv_async_send(&context->wakeup);
  return 0;
}

static context_post *take_posts(iotops_context *context) {
  uv_mutex_lock(&context->posts_lock);
  context_post *first = context->first_post;
  context->first_post = context->last_post = NULL;
  uv_mutex_unlock(&context->posts_lock);
  return first;
}

void context_run_posts(iotops_context *context) {
  context_post *post = take_posts(context);
  while (post != NULL) {
    context_post *next = post->next;
    void (*run)(void *user) = post->run;
    void *user = post->user;
    free(post);
    context->advanced = true;
    run(user);
    post = next;
  }
}

void context_drop_posts(iotops_context *context) {
  context_post *post = take_posts(context);
  while (post != NULL) {
    context_post *next = post->next;
    free(post);
    post = next;
  }
}
