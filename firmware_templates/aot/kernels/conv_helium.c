/* CONV_2D with Helium: the patches of two pixels against all output channels, two channels at a time.
 *
 * Cost: 9 instructions for each 64 MACs (4 loads, 4 VMLADAVA of 16 products, 1 loop end), 50 for each 2 x 2 outputs;
 * where a patch is at most 32 bytes 17 for each 2 outputs in all, at most 16 bytes 11. Then 4 for each output, 60 for
 * each pixel. A depth that is no multiple of 16 costs as the next one. Where a patch is more than a pixel it is
 * gathered first: about 35 for each row of the kernel inside the image, 100 at its borders, 3 for each 16 bytes.
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
  for (; count >= 16; count -= 16) {
    vstrbq_s8(to, vldrbq_s8(from));
    to += 16;
    from += 16;
  }
  if (count > 0) {
    const mve_pred16_t lanes = vctp8q((uint32_t)count);
    vstrbq_p_s8(to, vldrbq_z_s8(from, lanes), lanes);
    to += count;
  }
  return to;
}

/* A patch whose columns are all inside, side by side, and whose first row is y. Puts it at to. */
__attribute__((noinline)) static void kd_conv_helium_rows(const kd_conv_helium_args *args, const int8_t *image,
                                                          int32_t y, int32_t left, int8_t *to) {
  const int32_t bytes = args->kernel_width * args->channels, pitch = args->input_width * args->channels;
  const int32_t height = args->input_height, dilation = args->dilation_y, zero_point = args->input_zero_point;
  image += left * args->channels;
  for (int32_t ky = args->kernel_height; ky > 0; ky--) {
    if (y >= 0 && y < height) {
      to = kd_conv_helium_copy(to, image + y * pitch, bytes);
    } else {
      to = kd_conv_helium_fill(to, bytes, zero_point);
    }
    y += dilation;
  }
}

/* Any patch whose upper left pixel is (y, left). Puts it at to, with the zero point for what lies outside. */
__attribute__((noinline)) static void kd_conv_helium_border(const kd_conv_helium_args *args, const int8_t *image,
                                                            int32_t y, int32_t left, int8_t *to) {
  const int32_t channels = args->channels, width = args->input_width, zero_point = args->input_zero_point;
  const int32_t run = args->dilation_x == 1 ? args->kernel_width : 1; /* pixels that lie side by side */
  const int32_t end = left + args->kernel_width * args->dilation_x;
  for (int32_t ky = args->kernel_height; ky > 0; ky--) {
    const int32_t row = y >= 0 && y < args->input_height; /* whether it is one of the image */
    for (int32_t x = left; x < end; x += run * args->dilation_x) {
      const int32_t first = x < 0 ? 0 : x, last = x + run > width ? width : x + run;
      if (!row || first >= last) {
        to = kd_conv_helium_fill(to, run * channels, zero_point);
      } else {
        to = kd_conv_helium_fill(to, (first - x) * channels, zero_point);
        to = kd_conv_helium_copy(to, image + (y * width + first) * channels, (last - first) * channels);
        to = kd_conv_helium_fill(to, (x + run - last) * channels, zero_point);
      }
    }
    y += args->dilation_y;
  }
}

/* Sums of count channels for two patches of at most 32 bytes, which stay in registers. */
__attribute__((noinline)) static void kd_conv_helium_short(const int8_t *x0, const int8_t *x1, const int8_t *weights,
                                                           const int32_t *bias, int32_t depth, int32_t count,
                                                           int32_t *sums0, int32_t *sums1) {
  const mve_pred16_t low = vctp8q((uint32_t)depth), high = vctp8q((uint32_t)(depth > 16 ? depth - 16 : 0));
  const int8x16_t a0 = vldrbq_z_s8(x0, low), a1 = vldrbq_z_s8(x1, low); /* the other lanes are loaded as 0 */
  if (depth <= 16) {
    for (; count > 0; count--) {
      const int8x16_t w = vldrbq_z_s8(weights, low);
      const int32_t start = *bias++;
      *sums0++ = vmladavaq_s8(start, a0, w);
      *sums1++ = vmladavaq_s8(start, a1, w);
      weights += depth;
    }
    return;
  }
  const int8x16_t b0 = vldrbq_z_s8(x0 + 16, high), b1 = vldrbq_z_s8(x1 + 16, high);
  for (; count > 0; count--) {
    const int8x16_t w = vldrbq_z_s8(weights, low), v = vldrbq_z_s8(weights + 16, high);
    const int32_t start = *bias++;
    *sums0++ = vmladavaq_s8(vmladavaq_s8(start, a0, w), b0, v);
    *sums1++ = vmladavaq_s8(vmladavaq_s8(start, a1, w), b1, v);
    weights += depth;
  }
}

/* Sums of count channels for two patches of 16 bytes or more, two channels at a time. Not inlined: its loop needs all
 * registers. */
__attribute__((noinline)) static void kd_conv_helium_sums(const int8_t *x0, const int8_t *x1, const int8_t *weights,
                                                          const int32_t *bias, int32_t depth, int32_t count,
                                                          int32_t *sums0, int32_t *sums1) {
  const mve_pred16_t rest = vctp8q((uint32_t)(depth & 15)); /* the other lanes are loaded as 0 */
  for (; count > 0; count -= 2) {
    const int8_t *u0 = x0, *u1 = x1, *w0 = weights, *w1 = count > 1 ? weights + depth : weights;
    int32_t s00 = bias[0], s01 = bias[1], s10 = s00, s11 = s01;
    int32_t i = depth >> 4;
    do {
      const int8x16_t a0 = vldrbq_s8(u0), a1 = vldrbq_s8(u1), b0 = vldrbq_s8(w0), b1 = vldrbq_s8(w1);
      s00 = vmladavaq_s8(s00, a0, b0);
      s01 = vmladavaq_s8(s01, a0, b1);
      s10 = vmladavaq_s8(s10, a1, b0);
      s11 = vmladavaq_s8(s11, a1, b1);
      u0 += 16;
      u1 += 16;
      w0 += 16;
      w1 += 16;
    } while (--i > 0);
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

/* The outputs of count channels from first on, of two pixels, from their sums. */
__attribute__((noinline)) static void kd_conv_helium_store(const kd_conv_helium_args *args, int32_t first,
                                                           int32_t count, const int32_t *sums0, const int32_t *sums1,
                                                           int8_t *y0, int8_t *y1) {
  const int32_t *multipliers = args->multipliers + first;
  const int8_t *shifts = args->shifts + first;
  const int32_t zero_point = args->output_zero_point;
  const int32x4_t low = vdupq_n_s32(args->low), high = vdupq_n_s32(args->high);
  for (; count > 0; count -= 4) {
    const mve_pred16_t lanes = vctp32q((uint32_t)count);
    const int32x4_t multiplier = vldrwq_s32(multipliers), shift = vldrbq_s32(shifts);
    const int32x4_t z0 = vaddq_n_s32(kd_helium_requantize(vldrwq_s32(sums0), multiplier, shift), zero_point);
    const int32x4_t z1 = vaddq_n_s32(kd_helium_requantize(vldrwq_s32(sums1), multiplier, shift), zero_point);
    vstrbq_p_s32(y0, vminq_s32(vmaxq_s32(z0, low), high), lanes);
    vstrbq_p_s32(y1, vminq_s32(vmaxq_s32(z1, low), high), lanes);
    multipliers += 4;
    shifts += 4;
    sums0 += 4;
    sums1 += 4;
    y0 += 4;
    y1 += 4;
  }
}

/* All channels of two pixels: patches x0 and x1 to outputs y0 and y1. */
static void kd_conv_helium_pair(const kd_conv_helium_args *args, const int8_t *x0, const int8_t *x1, int8_t *y0,
                                int8_t *y1) {
  int32_t sums0[KD_CONV_HELIUM_BLOCK], sums1[KD_CONV_HELIUM_BLOCK];
  const int8_t *weights = args->weights;
  const int32_t depth = args->depth;
  for (int32_t first = 0; first < args->outputs; first += KD_CONV_HELIUM_BLOCK) {
    const int32_t left = args->outputs - first;
    const int32_t count = left < KD_CONV_HELIUM_BLOCK ? left : KD_CONV_HELIUM_BLOCK;
    if (depth <= 32) {
      kd_conv_helium_short(x0, x1, weights, args->bias + first, depth, count, sums0, sums1);
    } else {
      kd_conv_helium_sums(x0, x1, weights, args->bias + first, depth, count, sums0, sums1);
    }
    kd_conv_helium_store(args, first, count, sums0, sums1, y0 + first, y1 + first);
    weights += count * depth;
  }
}

/* The patch of the output at (oy, ox): in the image, or gathered to `to`. */
static const int8_t *kd_conv_helium_patch(const kd_conv_helium_args *args, const int8_t *image, int32_t oy, int32_t ox,
                                          int8_t *to) {
  const int32_t y = oy * args->stride_y - args->padding_y, x = ox * args->stride_x - args->padding_x;
  if (!args->gathers) {
    return image + (y * args->input_width + x) * args->channels;
  }
  if (args->dilation_x == 1 && x >= 0 && x + args->kernel_width <= args->input_width) {
    kd_conv_helium_rows(args, image, y, x, to);
  } else {
    kd_conv_helium_border(args, image, y, x, to);
  }
  return to;
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
        patches[held] = kd_conv_helium_patch(args, image, oy, ox, (int8_t *)scratch + held * args->depth);
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
