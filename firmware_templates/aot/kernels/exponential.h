/* gemmlowp's fixed-point exponential, for the kernels that normalize rows. No table but seven constants. */
#ifndef KD_EXPONENTIAL_H
#define KD_EXPONENTIAL_H

#include <stdint.h>

#include "fixedpoint.h"

KD_APART static int32_t kd_exponential_mul(int32_t a, int32_t b) { return kd_high_mul(a, b); }

KD_APART static int32_t kd_exponential_shift(int32_t x, int32_t by) { return kd_round_shift(x, by); }

/* How a difference of int8 values, which is negative or 0, becomes an exponent. */
typedef struct {
  int32_t multiplier;
  int32_t shift;  /* to the left, 1 to 31 */
  int32_t lowest; /* differences below it are as good as minus infinity */
} kd_exponent;

/* The exponent of a difference, with 26 fractional bits. */
static inline int32_t kd_exponent_of(const kd_exponent *exponent, int32_t difference) {
  return kd_exponential_mul(kd_signed((uint32_t)difference << exponent->shift), exponent->multiplier);
}

/* exp(a) with 31 fractional bits; a <= 0 has 26.
 * A Taylor series around -1/8 for the part of a below a quarter, times the power of e for each bit of the rest. */
KD_APART static int32_t kd_exponential(int32_t a) {
  static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  const int32_t quarter = 1 << 24;
  const int32_t below = (a & (quarter - 1)) - quarter;
  const int32_t x = below * (1 << 5) + (1 << 28);
  const int32_t squared = kd_exponential_mul(x, x);
  const int32_t third = kd_exponential_shift(kd_exponential_mul(squared, squared), 2) + kd_exponential_mul(squared, x);
  const int32_t series = x + kd_exponential_shift(kd_exponential_mul(third, 715827883) + squared, 1);
  int32_t result = 1895147668 + kd_exponential_mul(1895147668, series);
  for (int32_t i = 0; i < 7; i++) {
    if (((below - a) >> (24 + i)) & 1) {
      result = kd_exponential_mul(result, powers[i]);
    }
  }
  return a == 0 ? INT32_MAX : result;
}

/* The largest value of a row. */
static inline int32_t kd_exponential_largest(const int8_t *row, int32_t depth) {
  int32_t largest = -128;
  for (int32_t i = 0; i < depth; i++) {
    largest = row[i] > largest ? row[i] : largest;
  }
  return largest;
}

/* The sum of exp(x - largest) over a row, with 19 fractional bits; 1 at the least. */
static inline int32_t kd_exponential_sum(const kd_exponent *exponent, const int8_t *row, int32_t depth,
                                         int32_t largest) {
  int32_t sum = 0;
  for (int32_t i = 0; i < depth; i++) {
    const int32_t difference = row[i] - largest;
    if (difference >= exponent->lowest) {
      sum += kd_exponential_shift(kd_exponential(kd_exponent_of(exponent, difference)), 12);
    }
  }
  return sum;
}

/* Zero bits in front of a number that is greater than 0. */
static inline int32_t kd_exponential_zeros(int32_t x) {
  int32_t zeros = 0;
  while (((uint32_t)x << zeros & 0x80000000u) == 0) {
    zeros++;
  }
  return zeros;
}

/* x * 2^by, saturated. */
static int32_t kd_exponential_grown(int32_t x, int32_t by) {
  const int32_t most = INT32_MAX >> by;
  return x > most ? INT32_MAX : x < -most - 1 ? INT32_MIN : x * (1 << by);
}

/* 1 / (1 + a), both with 31 fractional bits, by three steps of Newton's method; a > -1. */
static inline int32_t kd_exponential_inverse(int32_t a) {
  const int32_t half = (int32_t)(((uint32_t)a + 0x80000000u) >> 1);
  int32_t x = 1515870810 + kd_exponential_mul(half, -1010580540);
  for (int32_t i = 0; i < 3; i++) {
    x += kd_exponential_grown(kd_exponential_mul(x, (1 << 29) - kd_exponential_mul(half, x)), 2);
  }
  return kd_exponential_grown(x, 1);
}

#endif /* KD_EXPONENTIAL_H */
