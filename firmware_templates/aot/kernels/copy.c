/* Strided copy of int8.
 *
 * Cost: 6 instructions for each run of a byte; longer ones 5 instructions a byte up to 15, 1 from there on, and about 12
 * for each run.
 * Overlap: bytes are written in the order of the loops, each run after all of it is read. The output may lie on the
 * input where no run covers what a later one reads; the caller works that out from the arguments.
 */
#include "copy.h"

#include "bytes.h"
#include "fixedpoint.h"

#define KD_COPY_SHORT 16 /* below this, kd_bytes_move costs more than it saves */

/* The innermost loop: count runs. */
static void kd_copy_runs(const kd_copy_args *args, const int8_t *from, int8_t *to) {
  const int32_t run = args->run, from_step = args->input_step4, to_step = args->output_step4;
  int32_t from_at = 0, to_at = 0;
  if (run == 1) {
    for (int32_t i = args->count4; i > 0; i--, from_at += from_step, to_at += to_step) {
      to[to_at] = from[from_at];
    }
    return;
  }
  for (int32_t i = args->count4; i > 0; i--, from_at += from_step, to_at += to_step) {
    if (run >= KD_COPY_SHORT) {
      kd_bytes_move(to + to_at, from + from_at, run);
    } else {
      for (int32_t k = 0; k < run; k++) {
        to[to_at + k] = from[from_at + k];
      }
    }
  }
}

void kd_copy(const kd_copy_args *args, const int8_t *input, int8_t *output) {
  int32_t from0 = args->input_start, to0 = args->output_start;
  for (int32_t i0 = 0; i0 < args->count0; i0++, from0 += args->input_step0, to0 += args->output_step0) {
    int32_t from1 = from0, to1 = to0;
    for (int32_t i1 = 0; i1 < args->count1; i1++, from1 += args->input_step1, to1 += args->output_step1) {
      int32_t from2 = from1, to2 = to1;
      for (int32_t i2 = 0; i2 < args->count2; i2++, from2 += args->input_step2, to2 += args->output_step2) {
        int32_t from3 = from2, to3 = to2;
        for (int32_t i3 = 0; i3 < args->count3; i3++, from3 += args->input_step3, to3 += args->output_step3) {
          kd_copy_runs(args, input + from3, output + to3);
        }
      }
    }
  }
}
