/* Sums and differences of two int8 operands, as one linear form. */
#ifndef KD_ADD_LINEAR_H
#define KD_ADD_LINEAR_H

#include <stdint.h>

/* output = (multiplier_a * a + multiplier_b * b + offset) >> shift, saturated. The generator has found numbers with
 * which that is the reference's result for every pair of values, and no step leaves int32. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t multiplier_a;
  int32_t multiplier_b;
  int32_t offset;
  int32_t shift; /* 1 to 24 */
} kd_add_linear_args;

void kd_add_linear(const kd_add_linear_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_ADD_LINEAR_H */
