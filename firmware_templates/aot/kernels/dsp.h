/* What the kernels for the Armv7E-M and Armv8-M DSP extension share. ACLE intrinsics alone, no CMSIS header.
 *
 * Four MACs in three instructions. A weight word holds the weights of four successive inputs x0..x3 as two signed
 * halfwords, w0 * 256 + w1 and w2 * 256 + w3; so its bytes 0 and 2 are w1 and w3, and bytes 1 and 3 are w0 and w2, less
 * 1 where the byte below is negative. Of a word of inputs, even = (x0, x2) and
 * odd = (x1 * 256 + 127 - x0, x3 * 256 + 127 - x2) are made, low halfword first; then
 *
 *   SMLAD(weights, even) + SMLAD(SXTB16(weights), odd) = 256 * (w0 x0 + w1 x1 + w2 x2 + w3 x3) + 127 * (w1 + w3)
 *
 * The last term is a constant of the channel. It is folded into the bias, and so is the input's zero point; sums are
 * modulo 2^32, so only the final one has to fit: 256 * total in int32, which kernels/_dsp.py proves for each channel.
 *
 * Words of inputs are loaded from any address, as these cores do unless CCR.UNALIGN_TRP forbids it.
 */
#ifndef KD_DSP_H
#define KD_DSP_H

#include <arm_acle.h>
#include <stdint.h>
#include <string.h>

#include "fixedpoint.h"

/* A function that is its assembly, and of which the compiler assumes nothing. */
#if defined(__clang__)
#define KD_DSP_ASSEMBLY __attribute__((naked, noinline))
#else
#define KD_DSP_ASSEMBLY __attribute__((naked, noipa))
#endif

/* Four inputs from any address. */
static inline uint32_t kd_dsp_load(const int8_t *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

static inline int16x2_t kd_dsp_even(uint32_t inputs) { return __sxtb16((int8x4_t)inputs); }

/* Bytes 3 and 1, as the first and the second halfword. In assembly, for gcc 12 leaves the rotation an instruction. */
static inline int16x2_t kd_dsp_high_bytes(uint32_t word) {
  int16x2_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
  return result;
}

/* Bits of 127 - x, as an unsigned byte, are those of x but for the low seven. */
static inline int16x2_t kd_dsp_odd(uint32_t inputs) { return (int16x2_t)(inputs ^ 0x007f007fu); }

/* The output of a sum, by the constants of kernels/_dsp.py: `half` is half of a unit in the high word of sum *
 * multiplier, for the first of two roundings. `ties` is 2 * half where ties of negative values are to round down, 0
 * where such values end in -128 in any case. In assembly, for ACLE has no intrinsics for these. */
static inline int8_t kd_dsp_output(int32_t sum, int32_t multiplier, int32_t scale, int32_t half, int32_t ties,
                                   int32_t zero_point) {
  int32_t high, negative;
  __asm__("smmla %[high], %[sum], %[multiplier], %[half]\n\t" /* high word of the product, + half */
          "and %[negative], %[ties], %[high], asr #31\n\t"
          "sub %[high], %[high], %[negative]\n\t"
          "smmlar %[high], %[high], %[scale], %[zero_point]\n\t" /* the same, rounded, + zero point */
          "ssat %[high], #8, %[high]"
          : [high] "=&r"(high), [negative] "=&r"(negative)
          : [sum] "r"(sum), [multiplier] "r"(multiplier), [half] "r"(half), [ties] "r"(ties), [scale] "r"(scale),
            [zero_point] "r"(zero_point));
  return (int8_t)high;
}

enum { KD_DSP_HALF = 64 }; /* for packed weights, whose sums are 256 * total */

#endif /* KD_DSP_H */
