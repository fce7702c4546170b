/* Depthwise convolution, portable. For each pixel the part of the window that lies in the image; two channels at once.
 *
 * Cost: for each MAC 6 to 7 instructions on Armv7-M (3 x 3 windows), 8 on Cortex-M0 and RV32; for each output about 50.
 * Overlap: the output is written in ascending order, a channel after its window has been read. So it may lie over what
 * no later channel and no later window reads.
 */
#include "depthwise.h"

#include "sums.h"

/* The taps of a window of `size` that read inside 0 to `limit` - 1, the first at `start`: from *first to before *end. */
static void kd_depthwise_clip(int32_t start, int32_t step, int32_t size, int32_t limit, int32_t *first, int32_t *end) {
  *first = 0;
  while (*first < size && start + *first * step < 0) {
    (*first)++;
  }
  *end = size;
  while (*end > *first && start + (*end - 1) * step >= limit) {
    (*end)--;
  }
}

/* All channels of the pixel whose window begins at row y and column x of the image. */
static void kd_depthwise_pixel(const kd_depthwise_args *args, const int8_t *image, int32_t y, int32_t x,
                               int8_t *output) {
  const int32_t channels = args->channels;
  const int32_t step = args->dilation_width * channels;
  const int32_t offset = args->input_offset;
  int32_t top, bottom, left, right;
  kd_depthwise_clip(y, args->dilation_height, args->kernel_height, args->height, &top, &bottom);
  kd_depthwise_clip(x, args->dilation_width, args->kernel_width, args->width, &left, &right);
  for (int32_t c = 0; c < channels; c += 2) {
    const int32_t two = c + 1 < channels; /* else the last channel is summed twice and stored once */
    uint32_t sum = 0;
    uint32_t next_sum = 0;
    for (int32_t ky = top; ky < bottom; ky++) {
      const int32_t row = (y + ky * args->dilation_height) * args->width + x + left * args->dilation_width;
      const int8_t *value = image + row * channels + c;
      const int8_t *weight = args->weights + (ky * args->kernel_width + left) * channels + c;
      for (int32_t kx = left; kx < right; kx++) {
        sum += (uint32_t)((value[0] + offset) * weight[0]);
        next_sum += (uint32_t)((value[two] + offset) * weight[two]);
        value += step;
        weight += channels;
      }
    }
    const int32_t at = args->per_channel ? c : 0;
    output[c] = kd_output(sum + (uint32_t)args->bias[c], args->multipliers[at], args->shifts[at], args->output_zero_point);
    if (two) {
      const int32_t next = at + args->per_channel;
      output[c + 1] = kd_output(next_sum + (uint32_t)args->bias[c + 1], args->multipliers[next], args->shifts[next],
                                args->output_zero_point);
    }
  }
}

void kd_depthwise(const kd_depthwise_args *args, const int8_t *input, int8_t *output) {
  for (int32_t image = 0; image < args->images; image++) {
    for (int32_t oy = 0; oy < args->output_height; oy++) {
      for (int32_t ox = 0; ox < args->output_width; ox++) {
        kd_depthwise_pixel(args, input, oy * args->stride_height - args->pad_top,
                           ox * args->stride_width - args->pad_left, output);
        output += args->channels;
      }
    }
    input += args->height * args->width * args->channels;
  }
}
