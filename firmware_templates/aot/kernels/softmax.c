/* Softmax of int8 rows, in fixed point as TFLite computes it.
 *
 * Cost: two exponentials of 150 to 250 instructions for each value, and about 200 for each row.
 * Overlap: a row is read three times; values are written in the third reading, ascending. The output may lie on the
 * input or below it.
 */
#include "softmax.h"

#include "exponential.h"
#include "fixedpoint.h"

/* x * 2^by, saturated. */
static int32_t kd_softmax_grown(int32_t x, int32_t by) {
  const int32_t most = INT32_MAX >> by;
  return x > most ? INT32_MAX : x < -most - 1 ? INT32_MIN : x * (1 << by);
}

/* 2 / (1 + a / 2^31), less its integer bit, in 31 bits, by three steps of Newton's method; a >= 0. */
static int32_t kd_softmax_reciprocal(int32_t a) {
  const int32_t half = (int32_t)(((uint32_t)a + 0x80000000u) >> 1);
  int32_t x = 1515870810 + kd_exponential_mul(half, -1010580540);
  for (int32_t i = 0; i < 3; i++) {
    x += kd_softmax_grown(kd_exponential_mul(x, (1 << 29) - kd_exponential_mul(half, x)), 2);
  }
  return kd_softmax_grown(x, 1);
}

static void kd_softmax_row(const kd_softmax_args *args, const int8_t *input, int8_t *output) {
  const kd_exponent exponent = {args->multiplier, args->shift, args->lowest};
  int32_t largest = -128, sum = 0, zeros = 0;
  for (int32_t i = 0; i < args->depth; i++) {
    largest = input[i] > largest ? input[i] : largest;
  }
  for (int32_t i = 0; i < args->depth; i++) {
    const int32_t difference = input[i] - largest;
    if (difference >= exponent.lowest) {
      sum += kd_exponential_shift(kd_exponential(kd_exponent_of(&exponent, difference)), 12);
    }
  }
  while (((uint32_t)sum << zeros & 0x80000000u) == 0) {
    zeros++;
  }
  const int32_t scale = kd_softmax_reciprocal((int32_t)(((uint32_t)sum << zeros) - 0x80000000u));
  for (int32_t i = 0; i < args->depth; i++) {
    const int32_t difference = input[i] - largest;
    int32_t value = 0;
    if (difference >= exponent.lowest) {
      const int32_t exponential = kd_exponential(kd_exponent_of(&exponent, difference));
      value = kd_exponential_shift(kd_exponential_mul(scale, exponential), 12 - zeros + 31 - 8);
    }
    output[i] = (int8_t)kd_clamp(value - 128, -128, 127);
  }
}

void kd_softmax(const kd_softmax_args *args, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < args->rows; i++) {
    kd_softmax_row(args, input + i * args->depth, output + i * args->depth);
  }
}
