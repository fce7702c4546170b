/* What the Helium kernels share: Armv8.1-M vectors of integers (MVE), through <arm_mve.h> alone. */
#ifndef KD_HELIUM_H
#define KD_HELIUM_H

#include <arm_mve.h>
#include <stdint.h>

/* Four sums * multipliers / 2^31 * 2^shifts, rounded as kd_requantize does; shifts from -31 to 0.
 *
 * VQRDMULH is kd_high_mul: to nearest, ties up. VRSHL rounds ties up too, where kd_round_shift has them away from zero:
 * one less before the shift turns the negative ones round, and changes nothing else. A shift of 0 has no ties. As in
 * gemmlowp's Neon version (fixedpoint_neon.h:296, RoundingDivideByPOT).
 */
static inline int32x4_t kd_helium_requantize(int32x4_t sums, int32x4_t multipliers, int32x4_t shifts) {
  const int32x4_t high = vqrdmulhq_s32(sums, multipliers);
  const int32x4_t tie = vshrq_n_s32(vandq_s32(high, shifts), 31); /* -1 where both are negative */
  return vrshlq_s32(vqaddq_s32(high, tie), shifts);
}

#endif /* KD_HELIUM_H */
