/* Parametric ReLU: below zero, a times alpha, which is b. */
#ifndef KD_PRELU_H
#define KD_PRELU_H

#include <stdint.h>

/* x = a - zero_point_a; output = x, or x (b - zero_point_b) where x is negative, requantized, plus zero_point. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t zero_point_a;
  int32_t zero_point_b;
  int32_t zero_point;
  int32_t multiplier_above;
  int32_t multiplier_below;
  int32_t shift_above; /* -31 to 30, positive to the left */
  int32_t shift_below;
} kd_prelu_args;

void kd_prelu(const kd_prelu_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_PRELU_H */
