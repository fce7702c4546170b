/* FULLY_CONNECTED with Helium: each row of the input against four rows of the weights at a time.
 *
 * Cost: 10 instructions for each 64 MACs (5 loads, 4 VMLADAVA of 16 products, 1 loop end), and about 60 for each four
 * outputs. A depth that is no multiple of 16 costs as the next one.
 * Overlap: a row of outputs must end before all the input rows still to be read, its own included.
 */
#include "fully_connected_helium.h"

#include "helium.h"

/* Sums of four rows of weights with x. Not inlined: its loop needs all registers. */
__attribute__((noinline)) static int32x4_t kd_fully_connected_helium_sums(const int8_t *x, const int8_t *const rows[4],
                                                                          int32_t depth) {
  const int8_t *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
  int32_t sums[4];
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (int32_t i = depth >> 4; i > 0; i--) {
    const int8x16_t a = vldrbq_s8(x);
    s0 = vmladavaq_s8(s0, a, vldrbq_s8(w0));
    s1 = vmladavaq_s8(s1, a, vldrbq_s8(w1));
    s2 = vmladavaq_s8(s2, a, vldrbq_s8(w2));
    s3 = vmladavaq_s8(s3, a, vldrbq_s8(w3));
    x += 16;
    w0 += 16;
    w1 += 16;
    w2 += 16;
    w3 += 16;
  }
  if (depth & 15) {
    const mve_pred16_t lanes = vctp8q((uint32_t)(depth & 15)); /* the other lanes are loaded as 0 */
    const int8x16_t a = vldrbq_z_s8(x, lanes);
    s0 = vmladavaq_s8(s0, a, vldrbq_z_s8(w0, lanes));
    s1 = vmladavaq_s8(s1, a, vldrbq_z_s8(w1, lanes));
    s2 = vmladavaq_s8(s2, a, vldrbq_z_s8(w2, lanes));
    s3 = vmladavaq_s8(s3, a, vldrbq_z_s8(w3, lanes));
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
  return vldrwq_s32(sums);
}

void kd_fully_connected_helium(const kd_fully_connected_helium_args *args, const int8_t *input, int8_t *output) {
  const int32_t depth = args->depth, outputs = args->outputs;
  for (int32_t row = 0; row < args->rows; row++) {
    for (int32_t c = 0; c < outputs; c += 4) {
      const int32_t left = outputs - c - 1; /* channels beside c: the last ones stand for those that are not there */
      const int8_t *const w = args->weights + c * depth;
      const int8_t *const rows[4] = {w, w + (left < 1 ? left : 1) * depth, w + (left < 2 ? left : 2) * depth,
                                     w + (left < 3 ? left : 3) * depth};
      const int32x4_t sums = vaddq_s32(kd_fully_connected_helium_sums(input, rows, depth), vldrwq_s32(args->bias + c));
      const int32x4_t x =
          kd_helium_requantize(sums, vldrwq_s32(args->multipliers + c), vldrbq_s32(args->shifts + c));
      const int32x4_t y = vmaxq_s32(vaddq_n_s32(x, args->output_zero_point), vdupq_n_s32(args->low));
      vstrbq_p_s32(output + c, vminq_s32(y, vdupq_n_s32(args->high)), vctp32q((uint32_t)left + 1u));
    }
    input += depth;
    output += outputs;
  }
}
