/* Products of two int8 operands, for any multiplier. */
#ifndef KD_MUL_EXACT_H
#define KD_MUL_EXACT_H

#include <stdint.h>

/* output = (a - zero_point_a)(b - zero_point_b) requantized, plus zero_point, held in low to high. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t zero_point_a;
  int32_t zero_point_b;
  int32_t zero_point;
  int32_t multiplier;
  int32_t shift; /* -31 to 30, positive to the left */
  int32_t low;
  int32_t high;
} kd_mul_exact_args;

void kd_mul_exact(const kd_mul_exact_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_MUL_EXACT_H */
