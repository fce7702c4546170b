/* Sums of int8 products and what becomes of them: the heart of the kernels conv and fully_connected. */
#ifndef KD_SUMS_H
#define KD_SUMS_H

#include <stdint.h>

#include "fixedpoint.h"

/* The int8 output for a sum with its bias. */
static inline int8_t kd_output(uint32_t sum, int32_t multiplier, int32_t shift, int32_t zero_point) {
  const int32_t scaled = kd_requantize(kd_signed(sum), multiplier, shift);
  return (int8_t)kd_clamp(kd_add(scaled, zero_point), -128, 127);
}

/* output[c] = start + bias[c] + the sum of x[i] * weights[c][i] over `depth`, requantized, for each of `channels`.
 *
 * per_channel is 1, or 0 where one multiplier and one shift serve all channels. Two channels go at once, so that x is
 * loaded once for two products; the last channel of an odd number is summed twice and stored once.
 */
static inline void kd_sums(const int8_t *x, const int8_t *weights, int32_t depth, int32_t channels, uint32_t start,
                           const int32_t *bias, const int32_t *multipliers, const int8_t *shifts, int32_t per_channel,
                           int32_t zero_point, int8_t *output) {
  for (int32_t c = 0; c < channels; c += 2) {
    const int32_t two = c + 1 < channels;
    const int8_t *next = two ? weights + depth : weights;
    uint32_t first_sum = start;
    uint32_t next_sum = start;
    for (int32_t i = 0; i < depth; i++) {
      const int32_t value = x[i];
      first_sum += (uint32_t)(value * weights[i]);
      next_sum += (uint32_t)(value * next[i]);
    }
    output[c] = kd_output(first_sum + (uint32_t)bias[c], *multipliers, *shifts, zero_point);
    multipliers += per_channel;
    shifts += per_channel;
    if (two) {
      output[c + 1] = kd_output(next_sum + (uint32_t)bias[c + 1], *multipliers, *shifts, zero_point);
      multipliers += per_channel;
      shifts += per_channel;
    }
    weights = next + depth;
  }
}

#endif /* KD_SUMS_H */
