/* Where the largest, or the smallest, int8 along an axis stands. */
#ifndef KD_ARG_MAX_H
#define KD_ARG_MAX_H

#include <stdint.h>

/* The input is [outer][depth][inner], the output an int32 for each of [outer][inner]: 0 to depth - 1, the first of
 * equals. x ^ inverted is compared: with all bits inverted the smallest is the largest. */
typedef struct {
  int32_t outer, depth, inner;
  int32_t inverted; /* 0: the largest; -1: the smallest */
} kd_arg_max_args;

/* `output` is where the first int32 begins, aligned to 4. */
void kd_arg_max(const kd_arg_max_args *args, const int8_t *input, int8_t *output);

#endif /* KD_ARG_MAX_H */
