/* The larger, or the smaller, of two int8 operands. */
#ifndef KD_MAXIMUM_H
#define KD_MAXIMUM_H

#include <stdint.h>

/* output = max(a ^ inverted, b ^ inverted) ^ inverted: with all bits inverted the smallest is the largest. */
typedef struct {
  int32_t count;       /* values of a row, 1 or more */
  int32_t step_b;      /* whether b is read value by value in a row (1), or one value for all of it (0) */
  int32_t loops;       /* around a row, 0 to 5 */
  const int32_t *loop; /* rounds, step in a, step in b of each, the innermost first */
  int32_t inverted; /* 0: the larger; -1: the smaller */
} kd_maximum_args;

void kd_maximum(const kd_maximum_args *args, const int8_t *a, const int8_t *b, int8_t *output);

#endif /* KD_MAXIMUM_H */
