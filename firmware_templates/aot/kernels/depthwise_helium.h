/* DEPTHWISE_CONV_2D on int8 with Helium: NHWC, depth multiplier 1, any kernel, stride, dilation and padding. */
#ifndef KD_DEPTHWISE_HELIUM_H
#define KD_DEPTHWISE_HELIUM_H

#include <stdint.h>

/* The constants of a channel stand in blocks of 16 channels, in the order in which the kernel's four sums hold them:
 * 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15. A last block in part is filled up: with 0, or with the same channels again
 * where several pixels are computed together. */
typedef struct {
  const int8_t *weights;      /* [kernel_height][kernel_width][channels] */
  const int32_t *bias;        /* in blocks; the input's zero point is folded in */
  const int32_t *multipliers; /* in blocks */
  const int8_t *shifts;       /* in blocks; -31 to 0 */
  int32_t batches;
  int32_t input_height;
  int32_t input_width;
  int32_t channels;
  int32_t output_height;
  int32_t output_width;
  int32_t kernel_height;
  int32_t kernel_width;
  int32_t stride_y;
  int32_t stride_x;
  int32_t dilation_y;
  int32_t dilation_x;
  int32_t padding_y; /* rows above the image */
  int32_t padding_x; /* columns on its left */
  int32_t together;  /* pixels side by side that are computed together, where 2, 4 or 8 have 16 channels; else 1 */
  int32_t input_zero_point;
  int32_t output_zero_point;
  int32_t low; /* range of the output */
  int32_t high;
} kd_depthwise_helium_args;

/* scratch: 4 bytes for each tap, their number rounded up to a multiple of 4, then one for each channel; where several
 * pixels are computed together, then 16 for each tap. */
void kd_depthwise_helium(const kd_depthwise_helium_args *args, const int8_t *input, int8_t *output, void *scratch);

#endif /* KD_DEPTHWISE_HELIUM_H */
