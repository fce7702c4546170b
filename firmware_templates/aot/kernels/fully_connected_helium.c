/* FULLY_CONNECTED with Helium: each row of the input against four rows of the weights at a time.
 *
 * Cost: 10 instructions for each 64 MACs (5 loads, 4 VMLADAVA of 16 products, 1 loop end), and about 50 for each four
 * outputs. A depth that is no multiple of 16 costs as the next one.
 * Overlap: a row of outputs must end before all the input rows still to be read, its own included.
 */
#include "fully_connected_helium.h"

#include "helium.h"

#define KD_FULLY_CONNECTED_HELIUM_BLOCK 32 /* outputs whose sums are held at a time; a multiple of 4 */

/* Sums of x with count rows of weights, four at a time. Not inlined: its loop needs all registers. Of less than four
 * rows the last one stands for those that are not there, so sums are written to a multiple of 4. */
__attribute__((noinline)) static void kd_fully_connected_helium_sums(const int8_t *x, const int8_t *w0, int32_t depth,
                                                                     int32_t count, int32_t *sums) {
  const int32_t rest = depth & 15;
  const mve_pred16_t lanes = vctp8q((uint32_t)rest); /* the other lanes are loaded as 0 */
  for (; count > 0; count -= 4) {
    const int8_t *w1 = count > 1 ? w0 + depth : w0, *w2 = count > 2 ? w1 + depth : w1;
    const int8_t *w3 = count > 3 ? w2 + depth : w2, *u = x;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int32_t i = depth >> 4; i > 0; i--) {
      const int8x16_t a = vldrbq_s8(u);
      s0 = vmladavaq_s8(s0, a, vldrbq_s8(w0));
      s1 = vmladavaq_s8(s1, a, vldrbq_s8(w1));
      s2 = vmladavaq_s8(s2, a, vldrbq_s8(w2));
      s3 = vmladavaq_s8(s3, a, vldrbq_s8(w3));
      u += 16;
      w0 += 16;
      w1 += 16;
      w2 += 16;
      w3 += 16;
    }
    if (rest != 0) {
      const int8x16_t a = vldrbq_z_s8(u, lanes);
      s0 = vmladavaq_s8(s0, a, vldrbq_z_s8(w0, lanes));
      s1 = vmladavaq_s8(s1, a, vldrbq_z_s8(w1, lanes));
      s2 = vmladavaq_s8(s2, a, vldrbq_z_s8(w2, lanes));
      s3 = vmladavaq_s8(s3, a, vldrbq_z_s8(w3, lanes));
    }
    w0 = w3 + rest; /* behind the last row */
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    sums += 4;
  }
}

/* The outputs of count channels from first on. */
__attribute__((noinline)) static void kd_fully_connected_helium_store(const kd_fully_connected_helium_args *args,
                                                                      int32_t first, int32_t count,
                                                                      const int32_t *sums, int8_t *output) {
  const int32_t *bias = args->bias + first, *multipliers = args->multipliers + first;
  const int8_t *shifts = args->shifts + first;
  const int32_t zero_point = args->output_zero_point;
  const int32x4_t low = vdupq_n_s32(args->low), high = vdupq_n_s32(args->high);
  for (; count > 0; count -= 4) {
    const int32x4_t sum = vaddq_s32(vldrwq_s32(sums), vldrwq_s32(bias));
    const int32x4_t x = kd_helium_requantize(sum, vldrwq_s32(multipliers), vldrbq_s32(shifts));
    const int32x4_t y = vminq_s32(vmaxq_s32(vaddq_n_s32(x, zero_point), low), high);
    vstrbq_p_s32(output, y, vctp32q((uint32_t)count));
    sums += 4;
    bias += 4;
    multipliers += 4;
    shifts += 4;
    output += 4;
  }
}

void kd_fully_connected_helium(const kd_fully_connected_helium_args *args, const int8_t *input, int8_t *output) {
  const int32_t depth = args->depth, outputs = args->outputs;
  int32_t sums[KD_FULLY_CONNECTED_HELIUM_BLOCK];
  for (int32_t row = 0; row < args->rows; row++) {
    for (int32_t c = 0; c < outputs; c += KD_FULLY_CONNECTED_HELIUM_BLOCK) {
      const int32_t left = outputs - c;
      const int32_t count = left < KD_FULLY_CONNECTED_HELIUM_BLOCK ? left : KD_FULLY_CONNECTED_HELIUM_BLOCK;
      kd_fully_connected_helium_sums(input, args->weights + c * depth, depth, count, sums);
      kd_fully_connected_helium_store(args, c, count, sums, output + c);
    }
    input += depth;
    output += outputs;
  }
}
