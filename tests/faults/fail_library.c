#include "fail_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { OBJECTS = 64, RANGES = 256, FRAMES = 64, STACK = 128 * 1024 };

#define INTERPOSED __attribute__((visibility("default")))
#define ASKED_BY   ((uintptr_t)__builtin_return_address(0))

/* The C library's own, under the names by which it exports them. */
void *__libc_malloc(size_t size);               /* NOLINT */
void *__libc_calloc(size_t count, size_t size); /* NOLINT */
void *__libc_realloc(void *block, size_t size); /* NOLINT */

/* ------------------------------------------------------------- objects -- */

static char names[OBJECTS][64]; /* "" is the program */
static size_t name_count;

static struct {
  uintptr_t first, end;
  size_t name;
} ranges[RANGES];
static size_t range_count;

static struct {
  bool wanted[OBJECTS]; /* these objects fail */
  atomic_uint_fast64_t count;
  uint64_t first, run;
  fail_report *report;
} failing;

static int note_object(struct dl_phdr_info *info, size_t size, void *user) {
  const char *slash = strrchr(info->dlpi_name, '/');

  (void)size;
  (void)user;
  if (name_count == OBJECTS)
    return 1;
  (void)snprintf(names[name_count], sizeof names[0], "%s",
                 slash ? slash + 1 : info->dlpi_name);
  for (int i = 0; i < info->dlpi_phnum && range_count < RANGES; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];

    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
      continue;
    ranges[range_count].first = info->dlpi_addr + part->p_vaddr;
    ranges[range_count].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    ranges[range_count++].name = name_count;
  }
  name_count++;
  return 0;
}

/* The object that the address is in; OBJECTS: none that was there at first. */
static size_t object_of(uintptr_t address) {
  for (size_t i = 0; i < range_count; i++)
    if (address >= ranges[i].first && address < ranges[i].end)
      return ranges[i].name;
  return OBJECTS;
}

/* -------------------------------------------------------------- memory -- */

static bool fails(uintptr_t asked_by) {
  size_t object;
  uint64_t number;

  if (!failing.report)
    return false;
  object = object_of(asked_by);
  if (object == OBJECTS || !failing.wanted[object])
    return false;
  number = atomic_fetch_add(&failing.count, 1) + 1;
  failing.report->count = number;
  if (failing.first == 0 || number < failing.first ||
      number >= failing.first + failing.run)
    return false;
  errno = ENOMEM;
  return true;
}

INTERPOSED void *malloc(size_t size) {
  return fails(ASKED_BY) ? NULL : __libc_malloc(size);
}

INTERPOSED void *calloc(size_t count, size_t size) {
  return fails(ASKED_BY) ? NULL : __libc_calloc(count, size);
}

INTERPOSED void *realloc(void *block, size_t size) {
  return size > 0 && fails(ASKED_BY) ? NULL : __libc_realloc(block, size);
}

#undef strdup
INTERPOSED char *strdup(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = fails(ASKED_BY) ? NULL : __libc_malloc(size);

  return copy ? memcpy(copy, text, size) : NULL;
}

/* -------------------------------------------------------------- crashes -- */

static uintptr_t interrupted_at(const ucontext_t *context) {
#if defined(__x86_64__)
  return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  return (uintptr_t)context->uc_mcontext.pc;
#else
  (void)context; /* the innermost frame that is not libc has to do */
  return 0;
#endif
}

static bool is_system(size_t object) {
  return object < OBJECTS && (strncmp(names[object], "libc.", 5) == 0 ||
                              strncmp(names[object], "ld-linux", 8) == 0 ||
                              strncmp(names[object], "linux-vdso", 10) == 0);
}

static void crashed(int number, siginfo_t *info, void *context) {
  static void *frames[FRAMES];
  fail_report *report = failing.report;
  uintptr_t at = interrupted_at(context);
  int count = backtrace(frames, FRAMES), i = 0;
  Dl_info symbol;

  (void)info;
  failing.report = NULL;
  report->signal = number;
  while (i < count && (uintptr_t)frames[i] != at)
    i++;
  if (i == count)
    i = 0;
  while (i < count - 1 && is_system(object_of((uintptr_t)frames[i])))
    i++;
  report->ours = object_of((uintptr_t)frames[i]) == 0;
  if (dladdr(frames[i], &symbol) != 0)
    (void)snprintf(report->where, sizeof report->where, "%s:%s",
                   report->ours ? "program"
                                : strrchr(symbol.dli_fname, '/') + 1,
                   symbol.dli_sname ? symbol.dli_sname : "?");
  _exit(99);
}

/* ---------------------------------------------------------------- life -- */

void fail_library_init(void) {
  static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT,
                                SIGFPE,  SIGILL, SIGALRM};
  stack_t stack = {.ss_size = STACK};
  struct sigaction action;
  void *frame[1];

  (void)dl_iterate_phdr(note_object, NULL);
  (void)backtrace(frame, 1); /* loads what it needs now */
  stack.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  (void)sigaltstack(&stack, NULL);
  memset(&action, 0, sizeof action);
  action.sa_sigaction = crashed;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    (void)sigaction(numbers[i], &action, NULL);
}

void fail_library_begin(const char *library, uint64_t first, uint64_t run,
                        fail_report *report) {
  for (size_t i = 0; i < name_count; i++)
    failing.wanted[i] = strncmp(names[i], library, strlen(library)) == 0;
  atomic_store(&failing.count, 0);
  failing.first = first;
  failing.run = run;
  failing.report = report;
}

void fail_library_end(void) {
  failing.first = 0;
}
