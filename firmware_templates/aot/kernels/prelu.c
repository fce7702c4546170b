/* Parametric ReLU of int8.
 *
 * Cost: about 30 instructions a value.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "prelu.h"

#include "broadcast.h"
#include "fixedpoint.h"

static void kd_prelu_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_prelu_args args = *(const kd_prelu_args *)arguments; /* which the output cannot overwrite */
  for (int32_t i = args.count; i > 0; i--, b += args.step_b) {
    const int32_t x = *a++ - args.zero_point_a;
    const int32_t scaled = x >= 0 ? kd_requantize(x, args.multiplier_above, args.shift_above)
                                  : kd_requantize(x * (*b - args.zero_point_b), args.multiplier_below,
                                                  args.shift_below);
    *output++ = (int8_t)kd_clamp(kd_add(scaled, args.zero_point), -128, 127);
  }
}

void kd_prelu(const kd_prelu_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_prelu_row, args, args->count, args->loops, args->loop, a, b, output);
}
