/* FULLY_CONNECTED on int8 for one row with the DSP extension, and convolutions that give a single pixel. */
#ifndef KD_FULLY_CONNECTED_DSP_H
#define KD_FULLY_CONNECTED_DSP_H

#include <stdint.h>

typedef struct {
  const uint32_t *weights;   /* [groups][depth / 4][8], words as in dsp.h; 0 where groups is 0 */
  const int32_t *parameters; /* [groups][8] sums to begin with, or [groups][3][8] with multipliers and scales */
  int32_t groups;            /* of 8 channels */
  int32_t multiplier;        /* of all the groups' channels; 0 where each has its own */
  int32_t scale;
  int32_t depth;             /* a multiple of 4 where there are groups */
  int32_t output_zero_point;
  int32_t ties;                   /* 128, or 0 where the output's zero point is -128: see dsp.h */
  int32_t rest;                   /* channels behind the groups; the next two are 0 where there are none */
  const int8_t *rest_weights;     /* [rest][depth], plain */
  const int32_t *rest_parameters; /* [rest][3]: bias with the input's zero point folded in, multiplier, scale */
} kd_fully_connected_dsp_args;

void kd_fully_connected_dsp(const kd_fully_connected_dsp_args *args, const int8_t *input, int8_t *output);

#endif /* KD_FULLY_CONNECTED_DSP_H */
