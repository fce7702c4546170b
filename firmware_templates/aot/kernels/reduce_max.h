/* The largest, or the smallest, int8 along axes. */
#ifndef KD_REDUCE_MAX_H
#define KD_REDUCE_MAX_H

#include <stdint.h>

/* output = max(x ^ inverted) ^ inverted: with all bits inverted the smallest is the largest. */
typedef struct {
  const int32_t *loops; /* see reduce.h */
  int32_t inverted;     /* 0: the largest; -1: the smallest */
} kd_reduce_max_args;

void kd_reduce_max(const kd_reduce_max_args *args, const int8_t *input, int8_t *output);

#endif /* KD_REDUCE_MAX_H */
