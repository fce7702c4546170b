/* How the kernels that reduce axes walk over their input. */
#ifndef KD_REDUCE_H
#define KD_REDUCE_H

#include <stdint.h>

/* What has come together so far and `count` more values, `step` apart. */
typedef int32_t (*kd_reduce_more)(const void *args, int32_t so_far, const int8_t *from, int32_t count, int32_t step);
/* The output for all that has come together. */
typedef int8_t (*kd_reduce_end)(const void *args, int32_t total);

/* `loops` has rounds and step in the input of six loops, the outermost first: three over the kept axes, in the order
 * of the output, then three over the reduced ones. */
static inline void kd_reduce(kd_reduce_more more, kd_reduce_end end, const void *args, const int32_t *loops,
                             int32_t start, const int8_t *input, int8_t *output) {
  for (int32_t k0 = 0; k0 < loops[0]; k0++) {
    for (int32_t k1 = 0; k1 < loops[2]; k1++) {
      for (int32_t k2 = 0; k2 < loops[4]; k2++) {
        const int8_t *from = input + k0 * loops[1] + k1 * loops[3] + k2 * loops[5];
        int32_t total = start;
        for (int32_t r0 = 0; r0 < loops[6]; r0++) {
          for (int32_t r1 = 0; r1 < loops[8]; r1++) {
            total = more(args, total, from + r0 * loops[7] + r1 * loops[9], loops[10], loops[11]);
          }
        }
        *output++ = end(args, total);
      }
    }
  }
}

#endif /* KD_REDUCE_H */
