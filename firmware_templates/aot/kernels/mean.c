/* Mean of int8 along axes.
 *
 * Cost: 5 instructions for each value of the input, about 50 for each of the output.
 * Overlap: each output is written when all of its inputs have been read, in ascending order; the generator works out
 * how far below the input it must begin.
 */
#include "mean.h"

#include "fixedpoint.h"
#include "reduce.h"

static int32_t kd_mean_more(const void *args, int32_t so_far, const int8_t *from, int32_t count, int32_t step) {
  (void)args;
  for (int32_t at = 0; at < count * step; at += step) {
    so_far += from[at];
  }
  return so_far;
}

static int8_t kd_mean_end(const void *arguments, int32_t total) {
  const kd_mean_args *args = arguments;
  const int32_t scaled = kd_requantize(total, args->multiplier, args->shift);
  return (int8_t)kd_clamp(kd_add(scaled, args->zero_point), -128, 127);
}

void kd_mean(const kd_mean_args *args, const int8_t *input, int8_t *output) {
  kd_reduce(kd_mean_more, kd_mean_end, args, args->loops, args->start, input, output);
}
