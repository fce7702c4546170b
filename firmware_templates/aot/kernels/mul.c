/* Product of two int8 operands.
 *
 * Cost: about 16 instructions a value on a Cortex-M4.
 * Overlap: value by value, ascending. The output may lie on an operand of its own size, or below it.
 */
#include "mul.h"

#include "broadcast.h"

KD_APART static void kd_mul_row(const void *arguments, const int8_t *a, const int8_t *b, int8_t *output) {
  const kd_mul_args *args = arguments;
  const int32_t zero_point_a = args->zero_point_a, zero_point_b = args->zero_point_b, multiplier = args->multiplier;
  const int32_t offset = args->offset, shift = args->shift, step_b = args->step_b;
  const int8_t *const end = a + args->count;
  do {
    const int32_t product = (*a++ - zero_point_a) * (*b - zero_point_b);
    /* 2^30, less 2^31 where the product is negative: the upper word of that is its sign */
    const uint32_t low = ((uint32_t)product & 0x80000000u) | 0x40000000u;
    const int64_t addend = (int64_t)(offset - (product < 0 ? 1 : 0)) * ((int64_t)1 << 32) + (int64_t)low;
    const int32_t sum = (int32_t)(((int64_t)product * multiplier + addend) >> 32);
    *output++ = (int8_t)kd_broadcast_saturate(sum >> shift);
    b += step_b;
  } while (a != end);
}

void kd_mul(const kd_mul_args *args, const int8_t *a, const int8_t *b, int8_t *output) {
  kd_broadcast(kd_mul_row, args, args->count, args->loops, args->loop, a, b, output);
}
