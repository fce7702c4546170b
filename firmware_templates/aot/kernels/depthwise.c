/* Depthwise convolution, portable. For each pixel the part of the window that lies in the image; four channels at once.
 *
 * Cost: for each MAC of a 3 x 3 window 9 instructions on Armv7-M and RV32, 16 on Cortex-M0; for each output about 45
 * (Cortex-M0: 90).
 * Overlap: the output is written in ascending order, a channel after its window has been read. So it may lie over what
 * no later channel and no later window reads.
 */
#include "depthwise.h"

#include "sums.h"

/* The part of a window that lies in the image, and the steps through input (value) and weights. */
typedef struct {
  int32_t rows;
  int32_t columns;
  int32_t value_start;
  int32_t weight_start;
  int32_t value_step;  /* from a column to the next */
  int32_t weight_step;
  int32_t value_skip;  /* from behind the last column to the next row */
  int32_t weight_skip;
  int32_t offset;      /* what is added to each value */
} kd_depthwise_part;

/* The sums of four channels. */
KD_APART static void kd_depthwise_four(const kd_depthwise_part *part, const int8_t *values, const int8_t *weights,
                                       uint32_t sums[4]) {
  const int32_t offset = part->offset;
  uint32_t first = 0;
  uint32_t second = 0;
  uint32_t third = 0;
  uint32_t fourth = 0;
  int32_t v = part->value_start;
  int32_t w = part->weight_start;
  for (int32_t row = part->rows; row > 0; row--) {
    for (int32_t column = part->columns; column > 0; column--) {
      const int8_t *value = values + v;
      const int8_t *weight = weights + w;
      first += (uint32_t)((value[0] + offset) * weight[0]);
      second += (uint32_t)((value[1] + offset) * weight[1]);
      third += (uint32_t)((value[2] + offset) * weight[2]);
      fourth += (uint32_t)((value[3] + offset) * weight[3]);
      v += part->value_step;
      w += part->weight_step;
    }
    v += part->value_skip;
    w += part->weight_skip;
  }
  sums[0] = first;
  sums[1] = second;
  sums[2] = third;
  sums[3] = fourth;
}

/* The sum of one channel. */
KD_APART static uint32_t kd_depthwise_one(const kd_depthwise_part *part, const int8_t *values, const int8_t *weights) {
  uint32_t sum = 0;
  int32_t v = part->value_start;
  int32_t w = part->weight_start;
  for (int32_t row = part->rows; row > 0; row--) {
    for (int32_t column = part->columns; column > 0; column--) {
      sum += (uint32_t)((values[v] + part->offset) * weights[w]);
      v += part->value_step;
      w += part->weight_step;
    }
    v += part->value_skip;
    w += part->weight_skip;
  }
  return sum;
}

/* The taps of a window of `size` that read inside 0 to `limit` - 1, the first at `start`: how many, from *first on. */
static inline int32_t kd_depthwise_clip(int32_t start, int32_t step, int32_t size, int32_t limit, int32_t *first) {
  int32_t skipped = 0;
  while (skipped < size && start + skipped * step < 0) {
    skipped++;
  }
  while (size > skipped && start + (size - 1) * step >= limit) {
    size--;
  }
  *first = skipped;
  return size - skipped;
}

/* All channels of the pixel whose window begins at row y and column x of the image. */
static void kd_depthwise_pixel(const kd_depthwise_args *args, const int8_t *image, int32_t y, int32_t x,
                               int8_t *output) {
  const int32_t channels = args->channels;
  int32_t top, left;
  kd_depthwise_part part;
  part.rows = kd_depthwise_clip(y, args->dilation_height, args->kernel_height, args->height, &top);
  part.columns = kd_depthwise_clip(x, args->dilation_width, args->kernel_width, args->width, &left);
  part.value_step = args->dilation_width * channels;
  part.weight_step = channels;
  part.value_skip = args->dilation_height * args->width * channels - part.columns * part.value_step;
  part.weight_skip = (args->kernel_width - part.columns) * channels;
  part.offset = args->input_offset;
  y += top * args->dilation_height;
  x += left * args->dilation_width;
  part.value_start = (y * args->width + x) * channels;
  part.weight_start = (top * args->kernel_width + left) * channels;
  const int32_t *multipliers = args->multipliers;
  const int8_t *shifts = args->shifts;
  for (int32_t c = 0; c < channels;) {
    uint32_t sums[4];
    int32_t count = 1;
    if (channels - c >= 4) {
      kd_depthwise_four(&part, image + c, args->weights + c, sums);
      count = 4;
    } else {
      sums[0] = kd_depthwise_one(&part, image + c, args->weights + c);
    }
    for (int32_t i = 0; i < count; i++, c++) {
      output[c] = kd_output(sums[i] + (uint32_t)args->bias[c], *multipliers, *shifts, args->output_zero_point);
      multipliers += args->per_channel;
      shifts += args->per_channel;
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
