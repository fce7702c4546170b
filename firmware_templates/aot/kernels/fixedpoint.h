/* The integer arithmetic of the TFLite reference kernels. Portable C99; no undefined behaviour for any input.
 *
 * Rounding follows gemmlowp's fixedpoint.h: a requantization rounds twice, first in the high multiplication (line 340,
 * ties up), then in the right shift (line 368, ties away from zero).
 */
#ifndef KD_FIXEDPOINT_H
#define KD_FIXEDPOINT_H

#include <stdint.h>

/* A function of its own: it has the registers for its loops, and its code stands once. */
#ifdef __GNUC__
#define KD_APART __attribute__((noinline, unused))
#else
#define KD_APART
#endif

/* x as a signed number, modulo 2^32: the compiler sees no implementation-defined cast. */
static inline int32_t kd_signed(uint32_t x) {
  return x <= 0x7fffffffu ? (int32_t)x : -(int32_t)(0xffffffffu - x) - 1;
}

/* a + b modulo 2^32, as an accumulator of the device wraps. */
static inline int32_t kd_add(int32_t a, int32_t b) { return kd_signed((uint32_t)a + (uint32_t)b); }

/* The high 32 bits of 2ab, rounded to nearest, ties up; a and b are not both INT32_MIN. */
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
/* These cores have no long multiplication: four of 16 by 16 bits take half the instructions of the library's. */
static inline int32_t kd_high_mul(int32_t a, int32_t b) {
  const int32_t a_low = (int32_t)((uint32_t)a & 0xffffu), a_high = (int16_t)((uint32_t)a >> 16);
  const int32_t b_low = (int32_t)((uint32_t)b & 0xffffu), b_high = (int16_t)((uint32_t)b >> 16);
  const uint32_t low = (uint32_t)a_low * (uint32_t)b_low;
  const int32_t middle = a_high * b_low + (int32_t)(low >> 16);
  const int32_t second = a_low * b_high + (int32_t)((uint32_t)middle & 0xffffu);
  const uint32_t word = ((uint32_t)second << 16) | (low & 0xffffu);
  const uint32_t high = (uint32_t)(a_high * b_high + (middle >> 16) + (second >> 16));
  const uint32_t carry = word >= 0xc0000000u ? 1u : 0u;
  return kd_signed(((high + carry) << 1) | ((word + 0x40000000u) >> 31));
}
#else
static inline int32_t kd_high_mul(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * (int64_t)b + ((int64_t)1 << 30);
  return (int32_t)(product >> 31); /* every compiler for these cores shifts negative numbers arithmetically */
}
#endif

/* x / 2^exponent to nearest, ties away from zero; exponent 0 to 31, x not INT32_MIN (no product by a multiplier is).
 * For a negative x the tie goes down if x - 1 is rounded with ties up.
 */
static inline int32_t kd_round_shift(int32_t x, int32_t exponent) {
  if (exponent == 0) {
    return x;
  }
  const int32_t twice = (x - (x < 0 ? 1 : 0)) >> (exponent - 1);
  return (twice >> 1) + (twice & 1);
}

/* x * multiplier / 2^31 * 2^shift; the left shift wraps. Source: TFLite 2.14, common.cc:20,
 * MultiplyByQuantizedMultiplier.
 */
static inline int32_t kd_requantize(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t left = shift > 0 ? shift : 0;
  return kd_round_shift(kd_high_mul(kd_signed((uint32_t)x << left), multiplier), left - shift);
}

static inline int32_t kd_clamp(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

#endif /* KD_FIXEDPOINT_H */
