/* Sum of two int8 operands, rounded as the reference does.
 *
 * Cost: about 50 instructions a value.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "add_exact.h"

#include "broadcast.h"
#include "fixedpoint.h"

/* x times multiplier / 2^(31 + shift). */
static int32_t kd_add_exact_scaled(int32_t x, int32_t multiplier, int32_t shift) {
  return kd_round_shift(kd_high_mul(x, multiplier), shift);
}

static void kd_add_exact_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_add_exact_args args = *(const kd_add_exact_args *)arguments; /* which the output cannot overwrite */
  for (int32_t i = args.count; i > 0; i--, b += args.step_b) {
    const int32_t x = kd_add_exact_scaled((*a++ - args.zero_point_a) * (1 << 20), args.multiplier_a, args.shift_a);
    const int32_t y = kd_add_exact_scaled((*b - args.zero_point_b) * (1 << 20), args.multiplier_b, args.shift_b);
    const int32_t sum = kd_add_exact_scaled(x + y, args.multiplier, args.shift);
    *output++ = (int8_t)kd_clamp(sum + args.zero_point, args.low, args.high);
  }
}

void kd_add_exact(const kd_add_exact_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_add_exact_row, args, args->count, args->loops, args->loop, a, b, output);
}
