/* Convolution, portable: any window, stride, dilation, padding and number of groups. */
#ifndef KD_CONV_H
#define KD_CONV_H

#include <stdint.h>

typedef struct {
  int32_t images;
  int32_t height; /* of the input */
  int32_t width;
  int32_t output_height;
  int32_t output_width;
  int32_t kernel_height;
  int32_t kernel_width;
  int32_t stride_height;
  int32_t stride_width;
  int32_t dilation_height;
  int32_t dilation_width;
  int32_t pad_top;
  int32_t pad_left;
  int32_t groups;
  int32_t depth;    /* input channels of a group */
  int32_t channels; /* output channels of a group */
  int32_t input_zero_point;
  int32_t output_zero_point;
  const int8_t *weights;      /* [groups * channels][kernel_height][kernel_width][depth] */
  const int32_t *bias;        /* [groups * channels], the input's zero point folded in */
  const int32_t *multipliers; /* [groups * channels] or [1] */
  const int8_t *shifts;       /* as multipliers; positive is to the left */
  int32_t per_channel;        /* 1, or 0 where multipliers and shifts hold one value for all channels */
} kd_conv_args;

/* input: int8 [images][height][width][groups * depth]; output: int8 [images][output_height][output_width][groups *
 * channels], saturated to int8 and not clamped further; patch: kernel_height * kernel_width * depth bytes.
 */
void kd_conv(const kd_conv_args *args, const int8_t *input, int8_t *output, void *patch);

#endif /* KD_CONV_H */
