/* Largest value of each window of an int8 image.
 *
 * Cost: about 5 instructions for each value of a window (a load, a comparison, and a quarter of the loop), 20 for each
 * of the output.
 * Overlap: a pixel is written when its window has been read, four channels at a time, in ascending order; the generator
 * works out how far below the input the output must begin.
 */
#include "max_pool_2d.h"

#include "fixedpoint.h"

static inline int32_t kd_max_pool_2d_larger(int32_t a, int32_t b) { return a > b ? a : b; }

KD_POOL_APART static void kd_max_pool_2d_window(const kd_pool_window *window, int32_t values[4]) {
  const int32_t end = window->columns * window->column_step;
  int32_t best0 = -128, best1 = -128, best2 = -128, best3 = -128;
  for (int32_t y = 0; y < window->rows; y++) {
    const int8_t *const row0 = window->from + y * window->row_step;
    const int8_t *const row1 = row0 + window->lane[1];
    const int8_t *const row2 = row0 + window->lane[2], *const row3 = row0 + window->lane[3];
    for (int32_t at = 0; at < end; at += window->column_step) {
      best0 = kd_max_pool_2d_larger(best0, row0[at]);
      best1 = kd_max_pool_2d_larger(best1, row1[at]);
      best2 = kd_max_pool_2d_larger(best2, row2[at]);
      best3 = kd_max_pool_2d_larger(best3, row3[at]);
    }
  }
  values[0] = best0;
  values[1] = best1;
  values[2] = best2;
  values[3] = best3;
}

void kd_max_pool_2d(const kd_max_pool_2d_args *args, const int8_t *input, int8_t *output) {
  kd_pool(kd_max_pool_2d_window, args, input, output);
}
