/* CONV_2D on int8 with Helium: NHWC, one group, any kernel, stride, dilation and padding. */
#ifndef KD_CONV_HELIUM_H
#define KD_CONV_HELIUM_H

#include <stdint.h>

typedef struct {
  const int8_t *weights;      /* [outputs][depth], each channel's as its patch lies: rows, columns, input channels */
  const int32_t *bias;        /* [outputs], then 0 to a multiple of 4; the input's zero point is folded in */
  const int32_t *multipliers; /* [outputs], likewise */
  const int8_t *shifts;       /* [outputs], likewise; -31 to 0 */
  int32_t batches;
  int32_t input_height;
  int32_t input_width;
  int32_t channels; /* of the input */
  int32_t output_height;
  int32_t output_width;
  int32_t outputs; /* channels of the output */
  int32_t kernel_height;
  int32_t kernel_width;
  int32_t stride_y;
  int32_t stride_x;
  int32_t dilation_y;
  int32_t dilation_x;
  int32_t padding_y; /* rows above the image */
  int32_t padding_x; /* columns on its left */
  int32_t depth;     /* kernel_height * kernel_width * channels */
  int32_t gathers;   /* 0 where a patch is one pixel (1x1 kernel, no padding), and read where it lies */
  int32_t input_zero_point;
  int32_t output_zero_point;
  int32_t low; /* range of the output */
  int32_t high;
} kd_conv_helium_args;

/* scratch: 2 * depth bytes where gathers is 1, else unused. */
void kd_conv_helium(const kd_conv_helium_args *args, const int8_t *input, int8_t *output, void *scratch);

#endif /* KD_CONV_HELIUM_H */
