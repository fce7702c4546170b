/* Sum of two int8 operands as a linear form.
 *
 * Cost: 8.3 instructions a value on a Cortex-M4 (two loads, two MACs, shift, saturation, store, and a quarter of the
 * loop), 3 with Helium.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "add_linear.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include <arm_mve.h>
#endif

#include "broadcast.h"

KD_APART static void kd_add_linear_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_add_linear_args *args = arguments;
  const int32_t multiplier_a = args->multiplier_a, shift = args->shift;
  int32_t multiplier_b = args->multiplier_b, offset = args->offset, left = args->count;
  if (args->step_b == 0) { /* one value of b for all */
    offset += *b * multiplier_b;
    multiplier_b = 0;
    b = a;
  }
#define KD_ADD_LINEAR_VALUE(i) \
  output[i] = (int8_t)kd_broadcast_saturate((a[i] * multiplier_a + (b[i] * multiplier_b + offset)) >> shift)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
  for (; left >= 4; left -= 4) {
    const int32x4_t sum = vmlaq_n_s32(vdupq_n_s32(offset), vldrbq_s32(b), multiplier_b);
    const int32x4_t x = vshlq_r_s32(vmlaq_n_s32(sum, vldrbq_s32(a), multiplier_a), -shift);
    vstrbq_s32(output, vminq_s32(vmaxq_s32(x, vdupq_n_s32(-128)), vdupq_n_s32(127)));
    a += 4;
    b += 4;
    output += 4;
  }
#else
  for (; left >= 4; left -= 4) {
    KD_ADD_LINEAR_VALUE(0);
    KD_ADD_LINEAR_VALUE(1);
    KD_ADD_LINEAR_VALUE(2);
    KD_ADD_LINEAR_VALUE(3);
    a += 4;
    b += 4;
    output += 4;
  }
#endif
  for (; left > 0; left--) {
    KD_ADD_LINEAR_VALUE(0);
    a++;
    b++;
    output++;
  }
#undef KD_ADD_LINEAR_VALUE
}

void kd_add_linear(const kd_add_linear_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_add_linear_row, args, args->count, args->loops, args->loop, a, b, output);
}
