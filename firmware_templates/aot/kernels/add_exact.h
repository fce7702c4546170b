/* Sums and differences of two int8 operands, rounded step by step as TFLite does. */
#ifndef KD_ADD_EXACT_H
#define KD_ADD_EXACT_H

#include <stdint.h>

/* Each operand, less its zero point and with 20 more bits, is requantized; so is the sum. */
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
  int32_t low; /* of the output */
  int32_t high;
} kd_add_exact_args;

void kd_add_exact(const kd_add_exact_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_ADD_EXACT_H */
