/* Mean of int8 along axes.
 *
 * Cost: 3 instructions for each value of the input, about 50 for each of the output.
 * Overlap: each output is written when all of its inputs have been read, in ascending order; the generator works out
 * how far below the input it must begin.
 */
#include "mean.h"

#include "fixedpoint.h"
#include "reduce.h"

KD_APART static void kd_mean_more(const void *args, kd_reduce_lanes *lanes, int32_t offset, int32_t count,
                                  int32_t step) {
  const int8_t *const row0 = lanes->from[0] + offset, *const row1 = lanes->from[1] + offset;
  const int8_t *const row2 = lanes->from[2] + offset, *const row3 = lanes->from[3] + offset;
  int32_t total0 = 0, total1 = 0, total2 = 0, total3 = 0;
  (void)args;
  for (int32_t at = 0; at < count * step; at += step) {
    total0 += row0[at];
    total1 += row1[at];
    total2 += row2[at];
    total3 += row3[at];
  }
  lanes->total[0] += total0;
  lanes->total[1] += total1;
  lanes->total[2] += total2;
  lanes->total[3] += total3;
}

static int8_t kd_mean_end(const void *arguments, int32_t total) {
  const kd_mean_args *args = arguments;
  const int32_t scaled = kd_requantize(total, args->multiplier, args->shift);
  return (int8_t)kd_clamp(kd_add(scaled, args->zero_point), -128, 127);
}

void kd_mean(const kd_mean_args *args, const int8_t *input, int8_t *output) {
  kd_reduce(kd_mean_more, kd_mean_end, args, args->loops, args->start, input, output);
}
