/* What the pooling kernels share: where the windows lie. Images are NHWC. */
#ifndef KD_POOL_H
#define KD_POOL_H

#include <stdint.h>

#include "fixedpoint.h"

/* The window of output y begins at row y * stride_height - padding_height and is cut at the borders; so along the
 * width. */
typedef struct {
  int32_t n; /* images */
  int32_t input_height;
  int32_t output_height;
  int32_t window_height;
  int32_t stride_height;
  int32_t padding_height; /* rows above the image */
  int32_t input_width;
  int32_t output_width;
  int32_t window_width;
  int32_t stride_width;
  int32_t padding_width; /* columns on its left */
  int32_t channels;
  int32_t low; /* of the output */
  int32_t high;
} kd_pool_args;

/* One window, all of it inside the image. */
typedef struct {
  const int8_t *from; /* its first pixel */
  int32_t rows;
  int32_t row_step; /* from a row of the image to the next */
  int32_t columns;
  int32_t column_step;
} kd_pool_window;

/* Writes the pixel of the output that a window makes. */
typedef void (*kd_pool_pixel)(const kd_pool_args *args, const kd_pool_window *window, int8_t *output);

static inline int32_t kd_pool_least(int32_t a, int32_t b) { return a < b ? a : b; }

static inline void kd_pool(kd_pool_pixel pixel, const kd_pool_args *args, const int8_t *input, int8_t *output) {
  const int32_t channels = args->channels, width = args->input_width * channels;
  kd_pool_window window;
  window.row_step = width;
  window.column_step = channels;
  for (int32_t n = args->n; n > 0; n--, input += args->input_height * width) {
    int32_t y = -args->padding_height;
    for (int32_t i = args->output_height; i > 0; i--, y += args->stride_height) {
      const int32_t top = y > 0 ? y : 0;
      int32_t x = -args->padding_width;
      window.rows = kd_pool_least(y + args->window_height, args->input_height) - top;
      for (int32_t j = args->output_width; j > 0; j--, x += args->stride_width) {
        const int32_t left = x > 0 ? x : 0;
        window.columns = kd_pool_least(x + args->window_width, args->input_width) - left;
        window.from = input + top * width + left * channels;
        pixel(args, &window, output);
        output += channels;
      }
    }
  }
}

#endif /* KD_POOL_H */
