/* Logarithm of the softmax of int8 rows, in fixed point as TFLite computes it.
 *
 * Cost: one exponential of 150 to 250 instructions and about 30 more for each value, and about 400 for each row.
 * Overlap: a row is read three times; values are written in the third reading, ascending. The output may lie on the
 * input or below it.
 */
#include "log_softmax.h"

#include "exponential.h"
#include "fixedpoint.h"

/* log(x) with 26 fractional bits, of x >= 1 with 19: the power of two or of two and a half closest to x, and a rational
 * function of what is left, which lies around the fourth root of a half. */
static int32_t kd_log_softmax_log(int32_t x) {
  const int32_t sqrt_half = 1518500250, fourth_root_half = 1805811301, quarter = 1 << 23;
  const int32_t zeros = kd_exponential_zeros(x);
  const int32_t halved = kd_exponential_zeros(kd_exponential_mul(x, sqrt_half)) - 1;
  const int32_t first = kd_exponential_grown(kd_exponential_mul(x * (1 << (zeros - 1)), sqrt_half), 1);
  const int32_t second = kd_exponential_grown(x, halved);
  const int32_t r = first < second ? first : second;
  const int32_t power_first = (12 - zeros) * (1 << 25) + quarter, power_second = (12 - halved) * (1 << 25) - quarter;
  const int32_t power = power_first > power_second ? power_first : power_second;
  const int32_t p = (int32_t)(((uint32_t)r + (uint32_t)fourth_root_half + 1u) >> 1), q = 2 * (r - fourth_root_half);
  const int32_t squared = kd_exponential_mul(q, q);
  const int32_t numerator =
      kd_exponential_mul(q, r) + kd_exponential_mul(kd_exponential_mul(q, squared), 117049297);
  const int32_t denominator = kd_exponential_mul(p, 1057819769 + q + kd_exponential_mul(127690142, squared)) +
                              kd_exponential_mul(638450708, q);
  const int32_t fraction =
      kd_exponential_mul(kd_exponential_shift(numerator, 6), kd_exponential_inverse(denominator));
  return kd_exponential_grown(kd_exponential_mul(power, 1488522236) + fraction, 1);
}

static void kd_log_softmax_row(const kd_log_softmax_args *args, const int8_t *input, int8_t *output) {
  const kd_exponent exponent = {args->multiplier, args->shift, args->lowest};
  const int32_t largest = kd_exponential_largest(input, args->depth);
  const int32_t log_sum = kd_log_softmax_log(kd_exponential_sum(&exponent, input, args->depth, largest));
  const int32_t lowest = kd_requantize(kd_add(log_sum, INT32_MIN), args->reverse_multiplier, -args->reverse_shift);
  const int32_t least = lowest > exponent.lowest - 1 ? lowest : exponent.lowest - 1;
  for (int32_t i = 0; i < args->depth; i++) {
    const int32_t difference = input[i] - largest;
    int32_t value = -128;
    if (difference > least) {
      value = kd_exponential_shift(kd_exponent_of(&exponent, difference) - log_sum, 22) + 127;
    }
    output[i] = (int8_t)kd_clamp(value, -128, 127);
  }
}

void kd_log_softmax(const kd_log_softmax_args *args, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < args->rows; i++) {
    kd_log_softmax_row(args, input + i * args->depth, output + i * args->depth);
  }
}
