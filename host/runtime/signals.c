#include "runtime/signals.h"

#include <signal.h>

enum { SIGNAL_COUNT = 5 };

struct signals {
  iotops_context *context; /* borrowed */
  signals_told told;
  void *user;
  uv_signal_t handles[SIGNAL_COUNT];
  int open; /* handles that are not closed yet */
};

static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1,
                                          SIGCHLD};

static void received(uv_signal_t *handle, int number) {
  signals *signals = handle->data;
  if (signals->told != NULL)
    signals->told(signals->user, number);
}

static void closed(uv_handle_t *handle) {
  signals *signals = handle->data;
  if (--signals->open == 0)
    iotops_free(signals->context, signals);
}

void signals_close(signals *signals) {
  if (signals == NULL)
    return;
  int open = signals->open;
  signals->told = NULL;
  if (open == 0)
    iotops_free(signals->context, signals);
  for (int i = 0; i < open; i++)
    uv_close((uv_handle_t *)&signals->handles[i], closed);
}

signals *signals_new(iotops_context *context, signals_told told, void *user) {
  signals *signals = iotops_zalloc(context, sizeof *signals);
  if (signals == NULL)
    return NULL;
  signals->context = context;
  signals->told = told;
  signals->user = user;
  for (int i = 0; i < SIGNAL_COUNT; i++) {
    uv_signal_t *handle = &signals->handles[i];
    if (uv_signal_init(iotops_context_loop(context), handle) != 0)
      goto failed;
    handle->data = signals;
    signals->open++;
    if (uv_signal_start(handle, received, numbers[i]) != 0)
      goto failed;
  }
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
  return signals;
failed:
  signals_close(signals);
  return NULL;
}
