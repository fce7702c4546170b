/* DEPTHWISE_CONV_2D on int8, multiplier 1, with the DSP extension: NHWC, any kernel, stride, padding, no dilation. */
#ifndef KD_DEPTHWISE_DSP_H
#define KD_DEPTHWISE_DSP_H

#include <stdint.h>

/* Rows and columns are those of the image, or the other way round where that has the longer rows. */
typedef struct {
  const int8_t *weights;     /* [channels][kernel_rows][kernel_columns] */
  const int32_t *parameters; /* [channels][3]: sum to begin with, multiplier, scale */
  int32_t channels;
  int32_t input_rows;
  int32_t input_columns;
  int32_t input_row_step; /* bytes from a row to the next */
  int32_t input_step;     /* bytes from a column to the next */
  int32_t output_rows;
  int32_t output_columns;
  int32_t output_row_step;
  int32_t output_step;
  int32_t kernel_rows;
  int32_t kernel_columns;
  int32_t stride_rows;
  int32_t stride_columns;
  int32_t padding_rows;    /* before the first */
  int32_t padding_columns; /* likewise */
  int32_t words;           /* of a row of two windows: (kernel_columns + stride_columns % 2 + 1) / 2 */
  int32_t row_words;       /* of a row in scratch */
  int32_t band;            /* rows of the output that are computed at once */
  int32_t fast;            /* 1: 3 x 3, stride 1 or 2, no ties */
  int32_t input_zero_point;
  int32_t output_zero_point;
  int32_t ties; /* 2, or 0 where the output's zero point is -128: see dsp.h */
} kd_depthwise_dsp_args;

/* scratch: 8 * kernel_rows * words + 4 * row_words * ((band - 1) * stride_rows + kernel_rows) bytes. */
void kd_depthwise_dsp(const kd_depthwise_dsp_args *args, const int8_t *input, int8_t *output, void *scratch);

#endif /* KD_DEPTHWISE_DSP_H */
