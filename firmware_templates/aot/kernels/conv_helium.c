/* CONV_2D with Helium: the patches of two pixels against all output channels, two channels at a time.
 *
 * Cost: 9 instructions for each 64 MACs (4 loads, 4 VMLADAVA of 16 products, 1 loop end), and about 30 for each block
 * of 2 x 2 outputs. A depth that is no multiple of 16 costs as the next one. Where a patch is more than a pixel it is
 * gathered first: about 9 instructions for each 16 bytes.
 * Overlap: pixels are written in ascending order, in pairs. The output may lie on the input as long as a pair's
 * outputs end before all that later pairs read (and where nothing is gathered, before the pair's own input).
 */
#include "conv_helium.h"

#include "helium.h"

#define KD_CONV_HELIUM_BLOCK 32 /* channels whose sums are held at a time; a multiple of 4 */

static int8_t *kd_conv_helium_fill(int8_t *to, int32_t count, int32_t value) {
  for (; count > 0; count -= 16) {
    vstrbq_p_s8(to, vdupq_n_s8((int8_t)value), vctp8q((uint32_t)count));
    to += count < 16 ? count : 16;
  }
  return to;
}

static int8_t *kd_conv_helium_copy(int8_t *to, const int8_t *from, int32_t count) {
  for (; count > 0; count -= 16) {
    const mve_pred16_t lanes = vctp8q((uint32_t)count);
    vstrbq_p_s8(to, vldrbq_z_s8(from, lanes), lanes);
    to += count < 16 ? count : 16;
    from += 16;
  }
  return to;
}

/* The patch whose upper left pixel is (top, left) of image, put at to; what lies outside has the zero point. */
static const int8_t *kd_conv_helium_gather(const kd_conv_helium_args *args, const int8_t *image, int32_t top,
                                           int32_t left, int8_t *to) {
  const int32_t channels = args->channels, width = args->input_width;
  const int32_t run = args->dilation_x == 1 ? args->kernel_width : 1; /* pixels that lie side by side */
  const int8_t *const patch = to;
  for (int32_t ky = 0; ky < args->kernel_height; ky++) {
    const int32_t y = top + ky * args->dilation_y;
    for (int32_t kx = 0; kx < args->kernel_width; kx += run) {
      const int32_t x = left + kx * args->dilation_x;
      int32_t before = x < 0 ? -x : 0;
      int32_t after = x + run > width ? x + run - width : 0;
      if (y < 0 || y >= args->input_height || before > run || after > run) {
        before = run;
        after = 0;
      }
      const int32_t inside = run - before - after;
      to = kd_conv_helium_fill(to, before * channels, args->input_zero_point);
      if (inside > 0) {
        to = kd_conv_helium_copy(to, image + (y * width + x + before) * channels, inside * channels);
      }
      to = kd_conv_helium_fill(to, after * channels, args->input_zero_point);
    }
  }
  return patch;
}

/* Sums of count channels for two patches, two channels at a time. Not inlined: its loop needs all registers. */
__attribute__((noinline)) static void kd_conv_helium_sums(const int8_t *x0, const int8_t *x1, const int8_t *weights,
                                                          const int32_t *bias, int32_t depth, int32_t count,
                                                          int32_t *sums0, int32_t *sums1) {
  const mve_pred16_t rest = vctp8q((uint32_t)(depth & 15)); /* the other lanes are loaded as 0 */
  for (; count > 0; count -= 2) {
    const int8_t *u0 = x0, *u1 = x1, *w0 = weights, *w1 = count > 1 ? weights + depth : weights;
    int32_t s00 = bias[0], s01 = bias[1], s10 = s00, s11 = s01;
    for (int32_t i = depth >> 4; i > 0; i--) {
      const int8x16_t a0 = vldrbq_s8(u0), a1 = vldrbq_s8(u1), b0 = vldrbq_s8(w0), b1 = vldrbq_s8(w1);
      s00 = vmladavaq_s8(s00, a0, b0);
      s01 = vmladavaq_s8(s01, a0, b1);
      s10 = vmladavaq_s8(s10, a1, b0);
      s11 = vmladavaq_s8(s11, a1, b1);
      u0 += 16;
      u1 += 16;
      w0 += 16;
      w1 += 16;
    }
    if (depth & 15) {
      const int8x16_t a0 = vldrbq_z_s8(u0, rest), a1 = vldrbq_z_s8(u1, rest);
      const int8x16_t b0 = vldrbq_z_s8(w0, rest), b1 = vldrbq_z_s8(w1, rest);
      s00 = vmladavaq_s8(s00, a0, b0);
      s01 = vmladavaq_s8(s01, a0, b1);
      s10 = vmladavaq_s8(s10, a1, b0);
      s11 = vmladavaq_s8(s11, a1, b1);
    }
    sums0[0] = s00;
    sums0[1] = s01;
    sums1[0] = s10;
    sums1[1] = s11;
    sums0 += 2;
    sums1 += 2;
    bias += 2;
    weights += 2 * depth;
  }
}

/* The outputs of count channels from first on. */
__attribute__((noinline)) static void kd_conv_helium_store(const kd_conv_helium_args *args, int32_t first,
                                                           int32_t count, const int32_t *sums, int8_t *output) {
  const int32_t *multipliers = args->multipliers + first;
  const int8_t *shifts = args->shifts + first;
  const int32_t zero_point = args->output_zero_point, low = args->low, high = args->high;
  for (; count > 0; count -= 4) {
    const int32x4_t x = kd_helium_requantize(vldrwq_s32(sums), vldrwq_s32(multipliers), vldrbq_s32(shifts));
    vstrbq_p_s32(output, kd_helium_output(x, zero_point, low, high), vctp32q((uint32_t)count));
    output += 4;
    sums += 4;
    multipliers += 4;
    shifts += 4;
  }
}

/* All channels of two pixels: patches x0 and x1 to outputs y0 and y1. */
static void kd_conv_helium_pair(const kd_conv_helium_args *args, const int8_t *x0, const int8_t *x1, int8_t *y0,
                                int8_t *y1) {
  int32_t sums[2][KD_CONV_HELIUM_BLOCK];
  for (int32_t first = 0; first < args->outputs; first += KD_CONV_HELIUM_BLOCK) {
    const int32_t left = args->outputs - first;
    const int32_t count = left < KD_CONV_HELIUM_BLOCK ? left : KD_CONV_HELIUM_BLOCK;
    kd_conv_helium_sums(x0, x1, args->weights + first * args->depth, args->bias + first, args->depth, count, sums[0],
                        sums[1]);
    kd_conv_helium_store(args, first, count, sums[0], y0 + first);
    kd_conv_helium_store(args, first, count, sums[1], y1 + first);
  }
}

void kd_conv_helium(const kd_conv_helium_args *args, const int8_t *input, int8_t *output, void *scratch) {
  const int32_t outputs = args->outputs;
  int32_t left = args->batches * args->output_height * args->output_width; /* pixels still to gather */
  int32_t held = 0;
  const int8_t *patches[2];
  for (int32_t b = 0; b < args->batches; b++) {
    const int8_t *const image = input + b * args->input_height * args->input_width * args->channels;
    for (int32_t oy = 0; oy < args->output_height; oy++) {
      for (int32_t ox = 0; ox < args->output_width; ox++) {
        const int32_t y = oy * args->stride_y - args->padding_y, x = ox * args->stride_x - args->padding_x;
        patches[held] =
            args->gathers ? kd_conv_helium_gather(args, image, y, x, (int8_t *)scratch + held * args->depth)
                          : image + (y * args->input_width + x) * args->channels;
        held++;
        left--;
        if (held == 2 || left == 0) { /* a pixel left over is computed twice */
          kd_conv_helium_pair(args, patches[0], patches[held - 1], output, output + (held - 1) * outputs);
          output += held * outputs;
          held = 0;
        }
      }
    }
  }
}
