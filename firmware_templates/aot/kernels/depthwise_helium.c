/* DEPTHWISE_CONV_2D with Helium: 16 channels of a pixel at a time, over all taps; of 2, 4 or 8 channels as many pixels
 * side by side as make 16 lanes, where their taps lie inside the image and side by side too.
 *
 * Cost: 29 instructions for each two taps of 16 channels, 90 for each 16 outputs, 30 for each pixel inside; 120 for one
 * where a kernel of 3 x 3 hangs over the border.
 * The products of two taps are added in 16 bits, which they cannot overflow: the two weights have magnitudes of at most
 * 255 together. They are widened to 32 bits in halves (VMOVLB, VMOVLT), hence the order of channels in the four sums.
 * Overlap: pixels are written in ascending order, each behind the channels it is made of. The output may lie on the
 * input as long as no pixel ends behind the first byte that it or a later one reads, plus its channels.
 */
#include "depthwise_helium.h"

#include "helium.h"

/* The addresses of the taps of the pixel whose upper left tap is (top, left); outside the image they are that of
 * zeros. Returns whether all lie inside. */
static int32_t kd_depthwise_helium_taps(const kd_depthwise_helium_args *args, const int8_t *image,
                                        const int8_t *zeros, int32_t top, int32_t left, uint32_t *taps) {
  const int32_t height = args->input_height, width = args->input_width, channels = args->channels;
  const int32_t kernel_width = args->kernel_width, dilation = args->dilation_x;
  int32_t y = top, inside = 1;
  for (int32_t ky = args->kernel_height; ky > 0; ky--) {
    const int32_t row = y >= 0 && y < height; /* whether it is one of the image */
    int32_t x = left;
    for (int32_t kx = kernel_width; kx > 0; kx--) {
      const int32_t pixel = row && x >= 0 && x < width;
      *taps++ = (uint32_t)(uintptr_t)(pixel ? image + (y * width + x) * channels : zeros);
      inside &= pixel;
      x += dilation;
    }
    y += args->dilation_y;
  }
  return inside;
}

/* Moves count addresses by step bytes; the array has room to a multiple of 4. */
static void kd_depthwise_helium_move(uint32_t *taps, int32_t count, int32_t step) {
  for (; count > 0; count -= 4) {
    vstrwq_u32(taps, vaddq_n_u32(vldrwq_u32(taps), (uint32_t)step));
    taps += 4;
  }
}

/* Up to 16 channels of a pixel, from c on: those of lanes, or all where whole. Weights of a tap are `pitch` apart. */
static inline void kd_depthwise_helium_block(const kd_depthwise_helium_args *args, const uint32_t *taps, int32_t count,
                                             const int8_t *w, int32_t pitch, int32_t c, int32_t whole,
                                             mve_pred16_t lanes, int8_t *output) {
#define KD_DEPTHWISE_HELIUM_LOAD(from) (whole ? vldrbq_s8(from) : vldrbq_z_s8(from, lanes))
  const int32_t *bias = args->bias + c, *multipliers = args->multipliers + c;
  const int8_t *shifts = args->shifts + c;
  int32x4_t s0 = vldrwq_s32(bias), s1 = vldrwq_s32(bias + 4);
  int32x4_t s2 = vldrwq_s32(bias + 8), s3 = vldrwq_s32(bias + 12);
  for (int32_t i = count >> 1; i > 0; i--) {
    const int8x16_t a = KD_DEPTHWISE_HELIUM_LOAD((const int8_t *)(uintptr_t)taps[0] + c);
    const int8x16_t aw = KD_DEPTHWISE_HELIUM_LOAD(w);
    const int8x16_t b = KD_DEPTHWISE_HELIUM_LOAD((const int8_t *)(uintptr_t)taps[1] + c);
    const int8x16_t bw = KD_DEPTHWISE_HELIUM_LOAD(w + pitch);
    const int16x8_t even = vaddq_s16(vmullbq_int_s8(a, aw), vmullbq_int_s8(b, bw));
    const int16x8_t odd = vaddq_s16(vmulltq_int_s8(a, aw), vmulltq_int_s8(b, bw));
    s0 = vaddq_s32(s0, vmovlbq_s16(even));
    s1 = vaddq_s32(s1, vmovltq_s16(even));
    s2 = vaddq_s32(s2, vmovlbq_s16(odd));
    s3 = vaddq_s32(s3, vmovltq_s16(odd));
    taps += 2;
    w += 2 * pitch;
  }
  if (count & 1) {
    const int8x16_t a = KD_DEPTHWISE_HELIUM_LOAD((const int8_t *)(uintptr_t)taps[0] + c);
    const int8x16_t aw = KD_DEPTHWISE_HELIUM_LOAD(w);
    const int16x8_t even = vmullbq_int_s8(a, aw);
    const int16x8_t odd = vmulltq_int_s8(a, aw);
    s0 = vaddq_s32(s0, vmovlbq_s16(even));
    s1 = vaddq_s32(s1, vmovltq_s16(even));
    s2 = vaddq_s32(s2, vmovlbq_s16(odd));
    s3 = vaddq_s32(s3, vmovltq_s16(odd));
  }
#undef KD_DEPTHWISE_HELIUM_LOAD
  s0 = kd_helium_requantize(s0, vldrwq_s32(multipliers), vldrbq_s32(shifts));
  s1 = kd_helium_requantize(s1, vldrwq_s32(multipliers + 4), vldrbq_s32(shifts + 4));
  s2 = kd_helium_requantize(s2, vldrwq_s32(multipliers + 8), vldrbq_s32(shifts + 8));
  s3 = kd_helium_requantize(s3, vldrwq_s32(multipliers + 12), vldrbq_s32(shifts + 12));
  /* Narrowed with saturation, even and odd lanes interleaved again; what 16 bits do not hold is far beyond int8. */
  const int16_t zero_point = (int16_t)args->output_zero_point;
  const int16x8_t even = vqaddq_n_s16(vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(s0), s0), s1), zero_point);
  const int16x8_t odd = vqaddq_n_s16(vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(s2), s2), s3), zero_point);
  int8x16_t out = vqmovntq_s16(vqmovnbq_s16(vreinterpretq_s8_s16(even), even), odd);
  out = vminq_s8(vmaxq_s8(out, vdupq_n_s8((int8_t)args->low)), vdupq_n_s8((int8_t)args->high));
  if (whole) {
    vstrbq_s8(output, out);
  } else {
    vstrbq_p_s8(output, out, lanes);
  }
}

/* All channels of a pixel; where `together` pixels are, of those. */
static void kd_depthwise_helium_pixel(const kd_depthwise_helium_args *args, const uint32_t *taps, int32_t count,
                                      const int8_t *weights, int32_t together, int8_t *output) {
  const int32_t channels = args->channels, lanes = channels * together;
  const int32_t pitch = args->together > 1 ? 16 : channels;
  int32_t c = 0;
  for (; c + 16 <= lanes; c += 16) {
    kd_depthwise_helium_block(args, taps, count, weights + c, pitch, c, 1, 0, output + c);
  }
  if (c < lanes) {
    const mve_pred16_t rest = vctp8q((uint32_t)(lanes - c));
    kd_depthwise_helium_block(args, taps, count, weights + c, pitch, c, 0, rest, output + c);
  }
}

/* Each tap's weights `together` times, which makes 16. */
static void kd_depthwise_helium_repeat(const kd_depthwise_helium_args *args, int32_t count, int8_t *to) {
  const int8_t *weights = args->weights;
  for (; count > 0; count--) {
    for (int32_t i = args->together; i > 0; i--) {
      for (int32_t c = 0; c < args->channels; c++) {
        *to++ = weights[c];
      }
    }
    weights += args->channels;
  }
}

void kd_depthwise_helium(const kd_depthwise_helium_args *args, const int8_t *input, int8_t *output, void *scratch) {
  const int32_t channels = args->channels, count = args->kernel_height * args->kernel_width;
  const int32_t last = args->input_width - 1 - (args->kernel_width - 1) * args->dilation_x; /* left, with all inside */
  uint32_t *const taps = (uint32_t *)scratch;
  int8_t *const zeros = (int8_t *)(taps + ((count + 3) & ~3));
  const int8_t *weights = args->weights;
  for (int32_t c = 0; c < channels; c++) {
    zeros[c] = (int8_t)args->input_zero_point;
  }
  if (args->together > 1) {
    kd_depthwise_helium_repeat(args, count, zeros + channels);
    weights = zeros + channels;
  }
  for (int32_t b = 0; b < args->batches; b++) {
    const int8_t *const image = input + b * args->input_height * args->input_width * channels;
    for (int32_t oy = 0; oy < args->output_height; oy++) {
      const int32_t top = oy * args->stride_y - args->padding_y;
      int32_t left = -args->padding_x;
      int32_t inside = 0; /* whether the last pixel's taps were all inside */
      int32_t done = 0;   /* pixels since the taps were found */
      for (int32_t ox = args->output_width; ox > 0; ox -= done) {
        if (inside && left <= last) {
          kd_depthwise_helium_move(taps, count, done * args->stride_x * channels);
        } else {
          inside = kd_depthwise_helium_taps(args, image, zeros, top, left, taps);
        }
        done = inside && ox >= args->together && left + args->together - 1 <= last ? args->together : 1;
        kd_depthwise_helium_pixel(args, taps, count, weights, done, output);
        output += done * channels;
        left += done * args->stride_x;
      }
    }
  }
}
