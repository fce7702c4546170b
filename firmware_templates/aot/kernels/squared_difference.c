/* Squared difference of two int8 operands.
 *
 * Cost: about 50 instructions a value.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "squared_difference.h"

#include "broadcast.h"
#include "fixedpoint.h"

/* x times multiplier / 2^(31 + shift). */
static int32_t kd_squared_difference_scaled(int32_t x, int32_t multiplier, int32_t shift) {
  return kd_round_shift(kd_high_mul(x, multiplier), shift);
}

static void kd_squared_difference_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_squared_difference_args args = *(const kd_squared_difference_args *)arguments; /* which the output cannot overwrite */
  for (int32_t i = args.count; i > 0; i--, b += args.step_b) {
    const int32_t x = (*a++ - args.zero_point_a) * (1 << 7), y = (*b - args.zero_point_b) * (1 << 7);
    const int32_t difference = kd_squared_difference_scaled(x, args.multiplier_a, args.shift_a) -
                               kd_squared_difference_scaled(y, args.multiplier_b, args.shift_b);
    const int32_t squared = kd_squared_difference_scaled(difference * difference, args.multiplier, args.shift);
    *output++ = (int8_t)kd_clamp(squared + args.zero_point, -128, 127);
  }
}

void kd_squared_difference(const kd_squared_difference_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_squared_difference_row, args, args->count, args->loops, args->loop, a, b, output);
}
