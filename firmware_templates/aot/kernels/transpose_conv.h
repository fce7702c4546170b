/* Transposed convolution, portable. */
#ifndef KD_TRANSPOSE_CONV_H
#define KD_TRANSPOSE_CONV_H

#include <stdint.h>

typedef struct {
  int32_t images;
  int32_t height; /* of the input */
  int32_t width;
  int32_t depth; /* input channels */
  int32_t output_height;
  int32_t output_width;
  int32_t channels; /* output channels */
  int32_t kernel_height;
  int32_t kernel_width;
  int32_t stride_height;
  int32_t stride_width;
  int32_t pad_top;
  int32_t pad_left;
  int32_t input_offset; /* what is added to each value of the input: minus its zero point */
  int32_t output_zero_point;
  const int8_t *weights;      /* [channels][kernel_height][kernel_width][depth] */
  const int32_t *bias;        /* [channels] */
  const int32_t *multipliers; /* [channels] or [1] */
  const int8_t *shifts;       /* as multipliers; positive is to the left */
  int32_t per_channel;        /* 1, or 0 where multipliers and shifts hold one value for all channels */
} kd_transpose_conv_args;

/* input: int8 [images][height][width][depth]; output: int8 [images][output_height][output_width][channels], saturated
 * to int8 and not clamped further.
 */
void kd_transpose_conv(const kd_transpose_conv_args *args, const int8_t *input, int8_t *output);

#endif /* KD_TRANSPOSE_CONV_H */
