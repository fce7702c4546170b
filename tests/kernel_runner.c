/* Runs calls of kernels that come on stdin, and writes what lies in their buffers afterwards to stdout.
 *
 * A job: kernel, args (bytes; each of `pointers` gets the address of an array), buffers, operands (buffer and offset).
 * All numbers are uint32. Every array and buffer is an allocation of its own, so that a sanitizer sees each byte too far.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_table.h"

#define MOST 64

typedef void (*call_2)(const void *, void *, void *);
typedef void (*call_3)(const void *, void *, void *, void *);
typedef void (*call_4)(const void *, void *, void *, void *, void *);
typedef void (*call_5)(const void *, void *, void *, void *, void *, void *);

static void read_bytes(void *to, size_t count) {
  if (count && fread(to, 1, count, stdin) != count) {
    exit(2);
  }
}

static uint32_t read_number(void) {
  uint32_t number;
  read_bytes(&number, sizeof number);
  return number;
}

/* An allocation of just the bytes that follow. */
static void *read_array(uint32_t *bytes) {
  *bytes = read_number();
  void *array = malloc(*bytes ? *bytes : 1);
  read_bytes(array, *bytes);
  return array;
}

static void run(uint32_t kernel) {
  void *arrays[MOST], *buffers[MOST], *at[MOST];
  uint32_t bytes, sizes[MOST];
  char *args = read_array(&bytes);
  const uint32_t pointers = read_number();
  for (uint32_t i = 0; i < pointers; i++) {
    const uint32_t offset = read_number();
    arrays[i] = read_array(&bytes);
    memcpy(args + offset, &arrays[i], sizeof arrays[i]);
  }
  const uint32_t buffer_count = read_number();
  for (uint32_t i = 0; i < buffer_count; i++) {
    buffers[i] = read_array(&sizes[i]);
  }
  const uint32_t operands = read_number();
  for (uint32_t i = 0; i < operands; i++) {
    const uint32_t buffer = read_number();
    at[i] = (char *)buffers[buffer] + read_number();
  }
  void (*function)(void) = kernels[kernel];
  switch (operands) {
    case 2: ((call_2)function)(args, at[0], at[1]); break;
    case 3: ((call_3)function)(args, at[0], at[1], at[2]); break;
    case 4: ((call_4)function)(args, at[0], at[1], at[2], at[3]); break;
    case 5: ((call_5)function)(args, at[0], at[1], at[2], at[3], at[4]); break;
    default: exit(3);
  }
  for (uint32_t i = 0; i < buffer_count; i++) {
    fwrite(buffers[i], 1, sizes[i], stdout);
    free(buffers[i]);
  }
  for (uint32_t i = 0; i < pointers; i++) {
    free(arrays[i]);
  }
  free(args);
}

int main(void) {
  uint32_t jobs = read_number();
  while (jobs--) {
    run(read_number());
  }
  return 0;
}
