/* Dense layer on rows, portable: FULLY_CONNECTED, and pointwise convolution of stride 1 (a row for each pixel). */
#ifndef KD_FULLY_CONNECTED_H
#define KD_FULLY_CONNECTED_H

#include <stdint.h>

typedef struct {
  int32_t rows;
  int32_t depth;              /* values of a row of the input */
  int32_t channels;           /* values of a row of the output */
  int32_t output_zero_point;
  int32_t weights_zero_point; /* 0 but for old models */
  const int8_t *weights;      /* [channels][depth] */
  const int32_t *bias;        /* [channels], the input's zero point folded in */
  const int32_t *multipliers; /* [channels] or [1] */
  const int8_t *shifts;       /* [channels] or [1]; positive is to the left */
  int32_t per_channel;        /* 1, or 0 where multipliers and shifts hold one value for all channels */
} kd_fully_connected_args;

/* input: int8 [rows][depth]; output: int8 [rows][channels], saturated to int8 and not clamped further. */
void kd_fully_connected(const kd_fully_connected_args *args, const int8_t *input, int8_t *output);

#endif /* KD_FULLY_CONNECTED_H */
