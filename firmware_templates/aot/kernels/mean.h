/* Means of int8 along axes. */
#ifndef KD_MEAN_H
#define KD_MEAN_H

#include <stdint.h>

/* output = (start + sum) requantized, plus zero_point, saturated. */
typedef struct {
  const int32_t *loops; /* see reduce.h */
  int32_t start;        /* less the input's zero point, once for each value summed */
  int32_t multiplier;   /* of the scales, divided by the number of values summed */
  int32_t shift;        /* -31 to 30, positive to the left */
  int32_t zero_point;   /* of the output */
} kd_mean_args;

void kd_mean(const kd_mean_args *args, const int8_t *input, int8_t *output);

#endif /* KD_MEAN_H */
