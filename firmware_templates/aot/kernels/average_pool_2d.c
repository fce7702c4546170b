/* Mean of each window of an int8 image, rounded half away from zero.
 *
 * Cost: about 3 instructions for each value of a window (a load and an addition, and a quarter of the loop), 20 and a
 * division for each of the output.
 * Overlap: a pixel is written when its window has been read, four channels at a time, in ascending order; the generator
 * works out how far below the input the output must begin.
 */
#include "average_pool_2d.h"

#include "fixedpoint.h"

KD_POOL_APART static void kd_average_pool_2d_window(const kd_pool_window *window, int32_t values[4]) {
  const int32_t count = window->rows * window->columns;
  const int32_t end = window->columns * window->column_step;
  int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
  for (int32_t y = 0; y < window->rows; y++) {
    const int8_t *const row0 = window->from + y * window->row_step;
    const int8_t *const row1 = row0 + window->lane[1];
    const int8_t *const row2 = row0 + window->lane[2], *const row3 = row0 + window->lane[3];
    for (int32_t at = 0; at < end; at += window->column_step) {
      sum0 += row0[at];
      sum1 += row1[at];
      sum2 += row2[at];
      sum3 += row3[at];
    }
  }
  values[0] = sum0;
  values[1] = sum1;
  values[2] = sum2;
  values[3] = sum3;
  for (int32_t i = 0; i < 4; i++) {
    values[i] = (values[i] > 0 ? values[i] + count / 2 : values[i] - count / 2) / count;
  }
}

void kd_average_pool_2d(const kd_average_pool_2d_args *args, const int8_t *input, int8_t *output) {
  kd_pool(kd_average_pool_2d_window, args, input, output);
}
