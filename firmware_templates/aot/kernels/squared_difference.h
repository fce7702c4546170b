/* The squared difference of two int8 operands. */
#ifndef KD_SQUARED_DIFFERENCE_H
#define KD_SQUARED_DIFFERENCE_H

#include <stdint.h>

/* Each operand, less its zero point and with 7 more bits, is requantized; so is the square of their difference. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t multiplier_a;
  int32_t multiplier_b;
  int32_t multiplier;
  int32_t shift_a; /* to the right, 0 to 31 */
  int32_t shift_b;
  int32_t shift;
  int32_t zero_point_a;
  int32_t zero_point_b;
  int32_t zero_point;
} kd_squared_difference_args;

void kd_squared_difference(const kd_squared_difference_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_SQUARED_DIFFERENCE_H */
