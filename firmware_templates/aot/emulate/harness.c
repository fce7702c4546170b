/* Runs a generated model on every input of the file "inputs", writes "outputs", and tells in "report" what it saw.
 *
 * kd_emulate_model.h, written for each model, calls its functions kd_engine_... and its sizes KD_ENGINE_...
 * "report" holds two int32: how many inputs ran, and how many bytes of stack the first run took (-1: not measured).
 */
#include <stdint.h>

#include "io.h"
#include "kd_emulate_model.h"

#define UNUSED_STACK 0xa5a5a5a5u
#define MOST_STACK 16384 /* painted, where there is that much */

static int report[2] = {0, -1};

#ifdef KD_EMULATED
extern uint32_t __heap_start[]; /* of the linker script: behind all static data */

/* What the counter of instructions looks for: all between these two is the model's. */
void kd_emulate_begin(void);
void kd_emulate_end(void);
__attribute__((noinline)) void kd_emulate_begin(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) void kd_emulate_end(void) { __asm__ volatile("" ::: "memory"); }

static uintptr_t entry; /* the stack pointer where the model is called */

static inline uintptr_t stack_pointer(void) {
  uintptr_t sp;
#ifdef __riscv
  __asm__ volatile("mv %0, sp" : "=r"(sp));
#else
  __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
  return sp;
}

__attribute__((noinline)) static void run(void) {
  entry = stack_pointer();
  kd_emulate_begin();
  kd_engine_invoke();
  kd_emulate_end();
}

/* Paints the free memory below the stack pointer, runs, and looks how deep the paint is gone. Calls nothing else. */
__attribute__((noinline)) static void run_measured(void) {
  volatile uint32_t *const top = (volatile uint32_t *)stack_pointer();
  volatile uint32_t *const bottom = top - __heap_start > MOST_STACK / 4 ? top - MOST_STACK / 4 : __heap_start;
  for (volatile uint32_t *word = bottom; word < top; word++) {
    *word = UNUSED_STACK;
  }
  run();
  volatile uint32_t *word = bottom;
  while (word < top && *word == UNUSED_STACK) {
    word++;
  }
  report[1] = (int)(entry - (uintptr_t)word);
}
#else
static void run(void) { kd_engine_invoke(); }

static void run_measured(void) { run(); }
#endif

int main(void) {
  const int inputs = kd_io_open_to_read("inputs");
  const int outputs = kd_io_open_to_write("outputs");
  while (kd_io_read(inputs, kd_engine_input(), KD_ENGINE_INPUT_BYTES)) {
    if (report[0] == 0) {
      run_measured();
    } else {
      run();
    }
    if (!kd_io_write(outputs, kd_engine_output(), KD_ENGINE_OUTPUT_BYTES)) {
      return 1;
    }
    report[0]++;
  }
  kd_io_close(outputs);
  const int file = kd_io_open_to_write("report");
  (void)kd_io_write(file, report, sizeof report);
  kd_io_close(file);
  return 0;
}
