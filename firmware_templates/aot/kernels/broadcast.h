/* How the kernels of two operands walk over shapes that broadcast. */
#ifndef KD_BROADCAST_H
#define KD_BROADCAST_H

#include <stdint.h>

#include "fixedpoint.h"

#define KD_BROADCAST_LOOPS 5

/* x held in -128 to 127: one instruction where there is one. */
static inline int32_t kd_broadcast_saturate(int32_t x) {
#ifdef __ARM_FEATURE_SAT
  int32_t result; /* the intrinsic of gcc 12 does not pass -Wsign-conversion */
  __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
  return result;
#else
  return kd_clamp(x, -128, 127);
#endif
}

/* Computes one row of `count` values: `a` value by value, `b` so too (step 1) or one value for all (step 0). */
typedef void (*kd_broadcast_row)(const void *args, const int8_t *a, const int8_t *b, int8_t *output);

/* Rows in the order of the output. `loop` has rounds, step in a and step in b of each of `loops` loops around a row,
 * the innermost first. */
static inline void kd_broadcast(kd_broadcast_row row, const void *args, int32_t count, int32_t loops,
                                const int32_t *loop, const int8_t *a, const int8_t *b, int8_t *output) {
  int32_t round[KD_BROADCAST_LOOPS] = {0}, at_a = 0, at_b = 0, i;
  do {
    row(args, a + at_a, b + at_b, output);
    output += count;
    for (i = 0; i < loops; i++) {
      const int32_t *of = loop + 3 * i;
      round[i]++;
      at_a += of[1];
      at_b += of[2];
      if (round[i] < of[0]) {
        break;
      }
      round[i] = 0;
      at_a -= of[0] * of[1];
      at_b -= of[0] * of[2];
    }
  } while (i < loops);
}

#endif /* KD_BROADCAST_H */
