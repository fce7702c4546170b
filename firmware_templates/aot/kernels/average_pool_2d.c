/* Mean of each window of an int8 image, rounded half away from zero.
 *
 * Cost: 2.75 instructions for each value of a window (a load and an addition, and a quarter of the loop), 30 for each
 * of the output.
 * Overlap: a pixel is written when its window has been read, four channels at a time, in ascending order; the generator
 * works out how far below the input the output must begin.
 */
#include "average_pool_2d.h"

#include "fixedpoint.h"

static inline int8_t kd_average_pool_2d_mean(const kd_pool_args *args, int32_t sum, int32_t count) {
  const int32_t half = count / 2;
  return (int8_t)kd_clamp((sum > 0 ? sum + half : sum - half) / count, args->low, args->high);
}

KD_APART static void kd_average_pool_2d_pixel(const kd_pool_args *args, const kd_pool_window *window, int8_t *output) {
  const int32_t count = window->rows * window->columns;
  const int32_t step = window->column_step, next_row = window->row_step - window->columns * step;
  const int8_t *from = window->from;
  for (int32_t left = args->channels; left > 0; left -= 4) {
    /* four channels; of fewer, the last one several times */
    const int32_t lane1 = left > 1 ? 1 : 0, lane2 = left > 2 ? 2 : lane1, lane3 = left > 3 ? 3 : lane2;
    const int8_t *const from1 = from + lane1, *const from2 = from + lane2, *const from3 = from + lane3;
    int32_t at = 0, sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (int32_t y = window->rows; y > 0; y--) {
      int32_t x = window->columns;
      do {
        sum0 += from[at];
        sum1 += from1[at];
        sum2 += from2[at];
        sum3 += from3[at];
        at += step;
      } while (--x > 0);
      at += next_row;
    }
    output[0] = kd_average_pool_2d_mean(args, sum0, count);
    output[lane1] = kd_average_pool_2d_mean(args, sum1, count);
    output[lane2] = kd_average_pool_2d_mean(args, sum2, count);
    output[lane3] = kd_average_pool_2d_mean(args, sum3, count);
    from += 4;
    output += 4;
  }
}

void kd_average_pool_2d(const kd_average_pool_2d_args *args, const int8_t *input, int8_t *output) {
  kd_pool(kd_average_pool_2d_pixel, args, input, output);
}
