/* How the kernels that reduce axes walk over their input. */
#ifndef KD_REDUCE_H
#define KD_REDUCE_H

#include <stdint.h>

#define KD_REDUCE_LANES 4 /* outputs that are made at a time, so that they share the work of the loops */

/* Four outputs in the making: what has come together so far, and where the first input of each lies. */
typedef struct {
  int32_t total[KD_REDUCE_LANES];
  const int8_t *from[KD_REDUCE_LANES];
} kd_reduce_lanes;

/* Adds to each output `count` values, `step` apart, the first one `offset` behind the output's first input. */
typedef void (*kd_reduce_more)(const void *args, kd_reduce_lanes *lanes, int32_t offset, int32_t count, int32_t step);
/* The output for all that has come together. */
typedef int8_t (*kd_reduce_end)(const void *args, int32_t total);

/* `loops` has rounds and step in the input of six loops, the outermost first: three over the kept axes, in the order
 * of the output, then three over the reduced ones. Of fewer outputs than four, the last one is made several times. */
static inline void kd_reduce(kd_reduce_more more, kd_reduce_end end, const void *args, const int32_t *loops,
                             int32_t start, const int8_t *input, int8_t *output) {
  kd_reduce_lanes lanes;
  for (int32_t k0 = 0; k0 < loops[0]; k0++) {
    for (int32_t k1 = 0; k1 < loops[2]; k1++) {
      const int8_t *from = input + k0 * loops[1] + k1 * loops[3];
      for (int32_t left = loops[4]; left > 0; left -= KD_REDUCE_LANES) {
        for (int32_t i = 0; i < KD_REDUCE_LANES; i++) {
          lanes.total[i] = start;
          lanes.from[i] = from;
          from += i + 1 < left ? loops[5] : 0;
        }
        for (int32_t r0 = 0; r0 < loops[6]; r0++) {
          for (int32_t r1 = 0; r1 < loops[8]; r1++) {
            more(args, &lanes, r0 * loops[7] + r1 * loops[9], loops[10], loops[11]);
          }
        }
        for (int32_t i = 0; i < KD_REDUCE_LANES && i < left; i++) {
          *output++ = end(args, lanes.total[i]);
        }
      }
    }
  }
}

#endif /* KD_REDUCE_H */
