/* Largest value of each window of an int8 image.
 *
 * Cost: for each value of a window 2 instructions with the DSP extension, else 8; for each pixel of a window 25.
 * Overlap: a pixel of the output is what has been the largest so far, from the first pixel of its window on. So it may
 * lie on that pixel or below; the generator works out how far below the input the output must begin.
 */
#include "max_pool_2d.h"

#include <string.h>

#ifdef __ARM_FEATURE_SIMD32
#include <arm_acle.h>
#endif

#include "fixedpoint.h"

/* output[i] = the larger of a[i] and b[i]. Each may be the output itself. */
KD_APART static void kd_max_pool_2d_larger(const int8_t *a, const int8_t *b, int8_t *output, int32_t count) {
#ifdef __ARM_FEATURE_SIMD32
  for (; count >= 4; count -= 4, a += 4, b += 4, output += 4) {
    int8x4_t x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    (void)__ssub8(x, y);
    x = (int8x4_t)__sel((uint8x4_t)x, (uint8x4_t)y);
    memcpy(output, &x, 4);
  }
#endif
  for (; count > 0; count--, a++, b++, output++) {
    *output = *a > *b ? *a : *b;
  }
}

static void kd_max_pool_2d_pixel(const kd_pool_args *args, const kd_pool_window *window, int8_t *output) {
  const int32_t channels = args->channels;
  const int8_t *so_far = window->from;
  for (int32_t y = 0; y < window->rows; y++) {
    const int8_t *from = window->from + y * window->row_step;
    for (int32_t x = window->columns; x > 0; x--) {
      kd_max_pool_2d_larger(so_far, from, output, channels);
      so_far = output;
      from += window->column_step;
    }
  }
  if (args->low > -128 || args->high < 127) {
    for (int32_t c = 0; c < channels; c++) {
      output[c] = (int8_t)kd_clamp(output[c], args->low, args->high);
    }
  }
}

void kd_max_pool_2d(const kd_max_pool_2d_args *args, const int8_t *input, int8_t *output) {
  kd_pool(kd_max_pool_2d_pixel, args, input, output);
}
