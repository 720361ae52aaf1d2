/*
** replay.c -- runs a fuzz target over inputs from files, one test a file.
**
** What an input breaks ends the program, and with it the plan of tests.
*/
#include "fuzz.h"

int main(int count, char **paths) {
  printf("1..%d\n", count - 1);
  for (int i = 1; i < count; i++) {
    FILE *file = fopen(paths[i], "rb");
    uint8_t *bytes = NULL;
    size_t size = 0, got;

    if (!file) {
      perror(paths[i]);
      return 1;
    }
    do {
      uint8_t *more = realloc(bytes, size + 4096);

      FUZZ_CHECK(more != NULL);
      bytes = more;
      got = fread(bytes + size, 1, 4096, file);
      size += got;
    } while (got > 0);
    (void)fclose(file);
    /* A block of just that size: a memory checker sees the byte behind it. */
    bytes = realloc(bytes, size ? size : 1);
    FUZZ_CHECK(bytes != NULL);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    printf("ok %d - %s\n", i, paths[i]);
    (void)fflush(stdout);
  }
  return 0;
}
