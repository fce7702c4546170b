/* Softmax of int8 rows, in fixed point as TFLite computes it.
 *
 * Cost: two exponentials of 150 to 250 instructions for each value, and about 200 for each row.
 * Overlap: a row is read three times; values are written in the third reading, ascending. The output may lie on the
 * input or below it.
 */
#include "softmax.h"

#include "exponential.h"
#include "fixedpoint.h"

static void kd_softmax_row(const kd_softmax_args *args, const int8_t *input, int8_t *output) {
  const kd_exponent exponent = {args->multiplier, args->shift, args->lowest};
  const int32_t largest = kd_exponential_largest(input, args->depth);
  const int32_t sum = kd_exponential_sum(&exponent, input, args->depth, largest);
  const int32_t zeros = kd_exponential_zeros(sum);
  const int32_t down = 12 - zeros + 31 - 8; /* from 32 on, where the sum is 512 or more, all is rounded to 0 */
  const int32_t scale = kd_exponential_inverse((int32_t)(((uint32_t)sum << zeros) - 0x80000000u));
  for (int32_t i = 0; i < args->depth; i++) {
    const int32_t difference = input[i] - largest;
    int32_t value = 0;
    if (difference >= exponent.lowest) {
      const int32_t exponential = kd_exponential(kd_exponent_of(&exponent, difference));
      value = kd_exponential_shift(kd_exponential_mul(scale, exponential), down < 32 ? down : 32);
    }
    output[i] = (int8_t)kd_clamp(value - 128, -128, 127);
  }
}

void kd_softmax(const kd_softmax_args *args, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < args->rows; i++) {
    kd_softmax_row(args, input + i * args->depth, output + i * args->depth);
  }
}
