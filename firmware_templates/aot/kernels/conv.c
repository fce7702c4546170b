/* Convolution, portable. What a window reads is gathered in `patch`, the input's zero point where it reaches outside
 * the image; then each output channel is one sum over the patch.
 *
 * Cost: for each MAC 3 instructions on Armv7-M, 5 on Cortex-M0, 4.3 on RV32; for each output about 45 (Cortex-M0: 95).
 * To gather, for each value of the patch about 5, and 20 for each of its pixels.
 * Overlap: the output is written in ascending order, a pixel's channels after its window has been read (with several
 * groups: after its group's part has). So it may lie over what no later window reads.
 */
#include "conv.h"

#include "sums.h"

/* Gathers group `group` of the window whose first value is at row y and column x of the image. */
static void kd_conv_gather(const kd_conv_args *args, const int8_t *image, int32_t y, int32_t x, int32_t group,
                           int8_t *patch) {
  const int32_t depth = args->depth;
  for (int32_t ky = 0; ky < args->kernel_height; ky++, y += args->dilation_height) {
    int32_t column = x;
    for (int32_t kx = 0; kx < args->kernel_width; kx++, column += args->dilation_width) {
      if (y >= 0 && y < args->height && column >= 0 && column < args->width) {
        const int8_t *pixel = image + ((y * args->width + column) * args->groups + group) * depth;
        for (int32_t c = 0; c < depth; c++) {
          *patch++ = pixel[c];
        }
      } else {
        for (int32_t c = 0; c < depth; c++) {
          *patch++ = (int8_t)args->input_zero_point;
        }
      }
    }
  }
}

void kd_conv(const kd_conv_args *args, const int8_t *input, int8_t *output, void *patch) {
  const int32_t size = args->kernel_height * args->kernel_width * args->depth;
  for (int32_t image = 0; image < args->images; image++) {
    for (int32_t oy = 0; oy < args->output_height; oy++) {
      for (int32_t ox = 0; ox < args->output_width; ox++) {
        for (int32_t group = 0; group < args->groups; group++) {
          const int32_t first = group * args->channels;
          const int32_t scale = args->per_channel ? first : 0;
          kd_conv_gather(args, input, oy * args->stride_height - args->pad_top,
                         ox * args->stride_width - args->pad_left, group, (int8_t *)patch);
          kd_sums((const int8_t *)patch, args->weights + first * size, size, args->channels, 0, args->bias + first,
                  args->multipliers + scale, args->shifts + scale, args->per_channel, args->output_zero_point, output);
          output += args->channels;
        }
      }
    }
    input += args->height * args->width * args->groups * args->depth;
  }
}
