/* CONV_2D on int8 with the DSP extension: NHWC, one group, any kernel, stride, dilation and padding. */
#ifndef KD_CONV_DSP_H
#define KD_CONV_DSP_H

#include <stdint.h>

typedef struct {
  const uint32_t *weights;   /* [outputs / 2][words][2], then [words] of an odd last channel; words as in dsp.h */
  const int32_t *parameters; /* for two channels: sums to begin with, multipliers, scales; the same for an odd one */
  int32_t pixels;            /* of the output, in all batches */
  int32_t outputs;           /* channels of the output */
  int32_t channels;          /* of the input */
  int32_t words;             /* of a patch: kernel_height * kernel_width * channels / 4, rounded up */
  int32_t pointwise;         /* 1: 1 x 1, no steps, channels a multiple of 4; then nothing until kernel_width matters */
  int32_t input_height;
  int32_t input_width;
  int32_t image_bytes; /* of the input */
  int32_t output_height;
  int32_t output_width;
  int32_t stride_y;
  int32_t stride_x;
  int32_t padding_y; /* rows above the image */
  int32_t padding_x; /* columns on its left */
  int32_t dilation_y;
  int32_t row_step;  /* bytes of the input from a row of the kernel to the next */
  int32_t row_bytes; /* of a row of the kernel: kernel_width * channels */
  int32_t kernel_height;
  int32_t kernel_width;
  int32_t backward;  /* 1: the last pixels first */
  int32_t input_zero_point;
  int32_t output_zero_point;
  int32_t ties; /* 128, or 0 where the output's zero point is -128: see dsp.h */
} kd_conv_dsp_args;

/* scratch: 36 * words bytes, 32 * words where pointwise. */
void kd_conv_dsp(const kd_conv_dsp_args *args, const int8_t *input, int8_t *output, void *scratch);

#endif /* KD_CONV_DSP_H */
