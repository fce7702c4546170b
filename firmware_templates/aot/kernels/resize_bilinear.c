/* Bilinear interpolation, weights of 10 bits along each axis. Rounding: to nearest, ties away from zero, by the
 * truncating division of TFLite's ResizeBilinearInteger (kernels/internal/reference/resize_bilinear.h:136).
 *
 * Cost: about 20 instructions for each byte of the output.
 * Overlap: none. The output must not share memory with the input.
 */
#include "resize_bilinear.h"

#include "fixedpoint.h"

void kd_resize_bilinear(const kd_resize_bilinear_args *args, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < args->images; i++) {
    for (int32_t y = 0; y < args->row_count; y++) {
      const int32_t *row = args->rows + 3 * y;
      for (int32_t x = 0; x < args->column_count; x++) {
        const int32_t *column = args->columns + 3 * x;
        const int8_t *top_left = input + row[0] + column[0], *top_right = input + row[0] + column[1];
        const int8_t *low_left = input + row[1] + column[0], *low_right = input + row[1] + column[1];
        const int32_t down = row[2], right = column[2];
        for (int32_t c = 0; c < args->channels; c++) {
          /* Weights lie in -512..1536: at most 128 * 2048^2 = 2^29 in magnitude. */
          const int32_t top = top_left[c] * (1024 - right) + top_right[c] * right;
          const int32_t low = low_left[c] * (1024 - right) + low_right[c] * right;
          const int32_t sum = top * (1024 - down) + low * down;
          *output++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
        }
      }
    }
    input += args->image;
  }
}
