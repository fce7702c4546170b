/* Products of two int8 operands. */
#ifndef KD_MUL_H
#define KD_MUL_H

#include <stdint.h>

/* With product = (a - zero_point_a)(b - zero_point_b), and 64 bits in which offset is the upper word:
 * output = (product * multiplier + offset + 2^30 - (product < 0 ? 2^31 : 0)) >> (32 + shift), saturated.
 * That is the reference's two roundings in one: see ops/mul.py. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t zero_point_a;
  int32_t zero_point_b;
  int32_t multiplier;
  int32_t offset; /* the zero point of the output and half of a unit */
  int32_t shift;  /* 1 to 21 */
} kd_mul_args;

void kd_mul(const kd_mul_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_MUL_H */
