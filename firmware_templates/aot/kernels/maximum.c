/* The larger or smaller of two int8 operands.
 *
 * Cost: 9 instructions a value.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "maximum.h"

#include "broadcast.h"
#include "fixedpoint.h"

static void kd_maximum_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_maximum_args *args = arguments;
  const int32_t inverted = args->inverted, step_b = args->step_b;
  for (int32_t i = args->count; i > 0; i--, b += step_b) {
    const int32_t x = *a++ ^ inverted, y = *b ^ inverted;
    *output++ = (int8_t)((x > y ? x : y) ^ inverted);
  }
}

void kd_maximum(const kd_maximum_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_maximum_row, args, args->count, args->loops, args->loop, a, b, output);
}
