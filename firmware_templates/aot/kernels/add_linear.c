/* Sum of two int8 operands as a linear form.
 *
 * Cost: 10 instructions a value on a Cortex-M4 (two loads, two MACs, shift, saturation, store, and the loop).
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "add_linear.h"

#include "broadcast.h"
#include "fixedpoint.h"

/* x held in -128 to 127: one instruction where there is one. */
static inline int32_t kd_add_linear_saturate(int32_t x) {
#ifdef __ARM_FEATURE_SAT
  int32_t result; /* the intrinsic of gcc 12 does not pass -Wsign-conversion */
  __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
  return result;
#else
  return kd_clamp(x, -128, 127);
#endif
}

static void kd_add_linear_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_add_linear_args *args = arguments;
  const int32_t multiplier_a = args->multiplier_a, multiplier_b = args->multiplier_b, offset = args->offset;
  const int32_t shift = args->shift, step_b = args->step_b;
  const int8_t *const end = a + args->count;
  do {
    const int32_t sum = *a++ * multiplier_a + (*b * multiplier_b + offset);
    b += step_b;
    *output++ = (int8_t)kd_add_linear_saturate(sum >> shift);
  } while (a != end);
}

void kd_add_linear(const kd_add_linear_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_add_linear_row, args, args->count, args->loops, args->loop, a, b, output);
}
