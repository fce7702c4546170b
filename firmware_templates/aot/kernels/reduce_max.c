/* Largest or smallest int8 along axes.
 *
 * Cost: 8 instructions for each value of the input, about 40 for each of the output.
 * Overlap: each output is written when all of its inputs have been read, in ascending order; the generator works out
 * how far below the input it must begin.
 */
#include "reduce_max.h"

#include "fixedpoint.h"
#include "reduce.h"

KD_APART static void kd_reduce_max_more(const void *arguments, kd_reduce_lanes *lanes, int32_t offset, int32_t count,
                                        int32_t step) {
  const int32_t inverted = ((const kd_reduce_max_args *)arguments)->inverted;
  for (int32_t i = 0; i < KD_REDUCE_LANES; i++) {
    const int8_t *const from = lanes->from[i] + offset;
    int32_t most = lanes->total[i];
    for (int32_t at = 0; at < count * step; at += step) {
      const int32_t x = from[at] ^ inverted;
      most = x > most ? x : most;
    }
    lanes->total[i] = most;
  }
}

static int8_t kd_reduce_max_end(const void *arguments, int32_t total) {
  return (int8_t)(total ^ ((const kd_reduce_max_args *)arguments)->inverted);
}

void kd_reduce_max(const kd_reduce_max_args *args, const int8_t *input, int8_t *output) {
  kd_reduce(kd_reduce_max_more, kd_reduce_max_end, args, args->loops, -128, input, output);
}
