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

#if defined(__thumb__) && !defined(__thumb2__)
/* sums[0] and sums[1]: of x[i] * w[i] and of x[i] * next[i], i from -depth to -1. Two sums and what they need fill the
 * registers of a Cortex-M0.
 */
KD_APART static void kd_two_sums(const int8_t *x, const int8_t *w, const int8_t *next, int32_t depth,
                                 uint32_t sums[2]) {
  uint32_t first = 0;
  uint32_t second = 0;
  int32_t i = -depth;
  do {
    const int32_t value = x[i];
    first += (uint32_t)(value * w[i]);
    second += (uint32_t)(value * next[i]);
  } while (++i != 0);
  sums[0] = first;
  sums[1] = second;
}
#endif

/* The sums of x[i] * weights[c][i] over `depth` for the first four channels, so that x is loaded once for several
 * products; where there are less than four, the last one stands for those behind it. Returns the weights behind them.
 */
KD_APART static const int8_t *kd_four_sums(const int8_t *x, const int8_t *weights, int32_t depth, int32_t channels,
                                           uint32_t sums[4]) {
  x += depth; /* one index counts up to 0 for all */
  const int8_t *first = weights + depth;
  const int8_t *second = channels > 1 ? first + depth : first;
  const int8_t *third = channels > 2 ? second + depth : second;
  const int8_t *fourth = channels > 3 ? third + depth : third;
#if defined(__thumb__) && !defined(__thumb2__)
  kd_two_sums(x, first, second, depth, sums);
  kd_two_sums(x, third, fourth, depth, sums + 2);
#else
  uint32_t first_sum = 0;
  uint32_t second_sum = 0;
  uint32_t third_sum = 0;
  uint32_t fourth_sum = 0;
  int32_t i = -depth;
#ifdef __riscv /* two steps share the work on the addresses, which are of one register each */
  for (; i < -2; i += 2) { /* one or two steps are left to the loop below */
    const int32_t value = x[i], next = x[i + 1];
    first_sum += (uint32_t)(value * first[i] + next * first[i + 1]);
    second_sum += (uint32_t)(value * second[i] + next * second[i + 1]);
    third_sum += (uint32_t)(value * third[i] + next * third[i + 1]);
    fourth_sum += (uint32_t)(value * fourth[i] + next * fourth[i + 1]);
  }
#endif
  do {
    const int32_t value = x[i];
    first_sum += (uint32_t)(value * first[i]);
    second_sum += (uint32_t)(value * second[i]);
    third_sum += (uint32_t)(value * third[i]);
    fourth_sum += (uint32_t)(value * fourth[i]);
  } while (++i < 0);
  sums[0] = first_sum;
  sums[1] = second_sum;
  sums[2] = third_sum;
  sums[3] = fourth_sum;
#endif
  return fourth;
}

/* output[c] = start + bias[c] + the sum of x[i] * weights[c][i] over `depth`, requantized, for each of `channels`.
 *
 * per_channel is 1, or 0 where one multiplier and one shift serve all channels. depth is 1 or more.
 */
KD_APART static void kd_sums(const int8_t *x, const int8_t *weights, int32_t depth, int32_t channels, uint32_t start,
                             const int32_t *bias, const int32_t *multipliers, const int8_t *shifts, int32_t per_channel,
                             int32_t zero_point, int8_t *output) {
  for (int32_t c = 0; c < channels; c += 4) {
    uint32_t sums[4];
    weights = kd_four_sums(x, weights, depth, channels - c, sums);
    for (int32_t i = 0; i < 4 && c + i < channels; i++) {
      output[c + i] = kd_output(start + sums[i] + (uint32_t)bias[c + i], *multipliers, *shifts, zero_point);
      multipliers += per_channel;
      shifts += per_channel;
    }
  }
}

#endif /* KD_SUMS_H */
