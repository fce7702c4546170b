/* Transposed convolution, portable. The reference scatters each input value through the window; here each output
 * gathers what reaches it: input row y reaches output row y * stride - pad + ky, so of the rows of the window those
 * count that lie a whole number of strides from (output row + pad), and likewise the columns.
 *
 * Cost: for each MAC 4.5 instructions on Armv7-M, 6 on Cortex-M0 and RV32; for each output about 70.
 * Overlap: none. The output must not share memory with the input.
 */
#include "transpose_conv.h"

#include "sums.h"

/* All channels of one output pixel. Row `y` of the input meets row `ky` of the window, row y - 1 meets row ky + stride,
 * and so on; likewise the columns.
 */
static void kd_transpose_conv_pixel(const kd_transpose_conv_args *args, const int8_t *image, int32_t y, int32_t ky,
                                    int32_t x, int32_t kx, int8_t *output) {
  const int32_t depth = args->depth;
  const int32_t offset = args->input_offset;
  const int32_t filter = args->kernel_height * args->kernel_width * depth;
  for (int32_t c = 0; c < args->channels; c += 2) {
    const int32_t two = c + 1 < args->channels; /* else the last channel is summed twice and stored once */
    const int8_t *weights = args->weights + c * filter;
    uint32_t sum = 0;
    uint32_t next_sum = 0;
    for (int32_t row = y, tap_y = ky; row >= 0 && tap_y < args->kernel_height; row--, tap_y += args->stride_height) {
      for (int32_t column = x, tap_x = kx; column >= 0 && tap_x < args->kernel_width;
           column--, tap_x += args->stride_width) {
        if (row < args->height && column < args->width) {
          const int8_t *value = image + (row * args->width + column) * depth;
          const int8_t *weight = weights + (tap_y * args->kernel_width + tap_x) * depth;
          const int8_t *next = two ? weight + filter : weight;
          for (int32_t i = 0; i < depth; i++) {
            const int32_t real = value[i] + offset;
            sum += (uint32_t)(real * weight[i]);
            next_sum += (uint32_t)(real * next[i]);
          }
        }
      }
    }
    const int32_t at = args->per_channel ? c : 0;
    output[c] =
        kd_output(sum + (uint32_t)args->bias[c], args->multipliers[at], args->shifts[at], args->output_zero_point);
    if (two) {
      const int32_t next = at + args->per_channel;
      output[c + 1] = kd_output(next_sum + (uint32_t)args->bias[c + 1], args->multipliers[next], args->shifts[next],
                                args->output_zero_point);
    }
  }
}

void kd_transpose_conv(const kd_transpose_conv_args *args, const int8_t *input, int8_t *output) {
  for (int32_t image = 0; image < args->images; image++) {
    for (int32_t oy = args->pad_top; oy < args->output_height + args->pad_top; oy++) {
      for (int32_t ox = args->pad_left; ox < args->output_width + args->pad_left; ox++) {
        kd_transpose_conv_pixel(args, input, oy / args->stride_height, oy % args->stride_height,
                                ox / args->stride_width, ox % args->stride_width, output);
        output += args->channels;
      }
    }
    input += args->height * args->width * args->depth;
  }
}
