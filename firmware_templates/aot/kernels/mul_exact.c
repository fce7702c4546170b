/* Product of two int8 operands, for any multiplier.
 *
 * Cost: about 40 instructions a value.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "mul_exact.h"

#include "broadcast.h"
#include "fixedpoint.h"

static void kd_mul_exact_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_mul_exact_args args = *(const kd_mul_exact_args *)arguments; /* which the output cannot overwrite */
  for (int32_t i = args.count; i > 0; i--, b += args.step_b) {
    const int32_t product = (*a++ - args.zero_point_a) * (*b - args.zero_point_b);
    const int32_t scaled = kd_requantize(product, args.multiplier, args.shift);
    *output++ = (int8_t)kd_clamp(kd_add(scaled, args.zero_point), args.low, args.high);
  }
}

void kd_mul_exact(const kd_mul_exact_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_mul_exact_row, args, args->count, args->loops, args->loop, a, b, output);
}
